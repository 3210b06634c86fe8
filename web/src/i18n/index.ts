// Two catalogues, English and Chinese. The browser's language is chosen until the person chooses another.
import i18n from "i18next";
import { initReactI18next } from "react-i18next";
import en from "./en.json";
import zh from "./zh.json";

export const LANGUAGES = [["en", "English"], ["zh", "中文"]] as const;
const KEPT = "springtide.language";

const browser = navigator.languages.some((language) => language.startsWith("zh")) && !navigator.language.startsWith("en") ? "zh" : "en";

void i18n.use(initReactI18next).init({
  resources: { en: { translation: en }, zh: { translation: zh } },
  lng: localStorage.getItem(KEPT) ?? browser,
  fallbackLng: "en",
  interpolation: { escapeValue: false }, // React escapes
});

export function speak(language: string): void {
  localStorage.setItem(KEPT, language);
  void i18n.changeLanguage(language);
}

export default i18n;
