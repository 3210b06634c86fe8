// Figures as people read them.
import i18n from "../i18n";

export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB"];
  let place = 0;
  let value = count;
  while (value >= 1000 && place < units.length - 1) {
    value /= 1000;
    place += 1;
  }
  return `${new Intl.NumberFormat(i18n.language, { maximumFractionDigits: value < 10 && place > 0 ? 1 : 0 }).format(value)} ${units[place]}`;
}

/** 0.4 s, 12 s, 3 min 20 s, 2 h 5 min; 30 min, 1 h. */
export function duration(seconds: number): string {
  if (seconds < 9.95) return i18n.t("time.s", { s: seconds.toFixed(1) });
  const whole = Math.round(seconds);
  if (whole < 60) return i18n.t("time.s", { s: whole });
  if (whole < 3600) return i18n.t(whole % 60 ? "time.min" : "time.wholeMin", { m: Math.floor(whole / 60), s: whole % 60 });
  const minutes = Math.round(whole / 60);
  return i18n.t(minutes % 60 ? "time.h" : "time.wholeH", { h: Math.floor(minutes / 60), m: minutes % 60 });
}

export function figure(value: number): string {
  return new Intl.NumberFormat(i18n.language, { maximumFractionDigits: value < 10 ? 2 : value < 100 ? 1 : 0 }).format(value);
}

/** A name of the API as a label: at_s is "At s" where nobody has said it better. */
export const words = (name: string): string => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");

export function when(at_s: number): string {
  return new Intl.DateTimeFormat(i18n.language, { dateStyle: "short", timeStyle: "medium" }).format(at_s * 1000);
}
