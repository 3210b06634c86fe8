// What a model is called: its engine's title in the page's language, and its own name where that is another.
import type { TFunction } from "i18next";
import { useTranslation } from "react-i18next";
import type { Model } from "../api/client";
import { useModels } from "../api/jobs";

export function titleOf(t: TFunction, model: Pick<Model, "name" | "title" | "engine">): string {
  const title = t([`model.${model.name}.title`, `model.${model.engine}.title`], { defaultValue: model.title });
  return model.name === model.engine || model.title.toLowerCase() === model.name.toLowerCase() ? title : `${title} · ${model.name}`;
}

export function descriptionOf(t: TFunction, model: Pick<Model, "name" | "description" | "engine">): string {
  return t([`model.${model.name}.description`, `model.${model.engine}.description`], { defaultValue: model.description });
}

/** The same by name, also of a model that is not served any more; a pipeline's is one of several, "speech > subtitles". */
export function useTitles(): (name: string) => string {
  const { t } = useTranslation();
  const models = useModels().data ?? [];
  const one = (name: string) => {
    const model = models.find((each) => each.name === name);
    return model ? titleOf(t, model) : name;
  };
  return (name) => name.split(" > ").map(one).join(" › ");
}
