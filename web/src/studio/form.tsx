// The form of a model, made from its schema. What most people want is on top; the rest opens on request.
import { Button, Collapse, ColorInput, NumberInput, Select, Slider, Stack, Switch, TagsInput, Text, Textarea, TextInput } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconAdjustmentsHorizontal } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import type { Inputs } from "../api/submit";
import type { Field } from "../api/schema-fields";
import { words } from "../parts/format";
import { FileField } from "./files";

type Props = {
  model: string;
  fields: Field[];
  inputs: Inputs;
  files: Record<string, File[]>;
  problems: Record<string, string>;
  disabled: boolean;
  onInput: (name: string, value: unknown) => void;
  onFiles: (name: string, files: File[]) => void;
};

const FIRST = new Set(["prompt", "consent", "text", "hotwords", "language"]);

export function Form({ fields, ...rest }: Props) {
  const { t } = useTranslation();
  const [open, { toggle }] = useDisclosure(false);
  const isFirst = (field: Field) => field.kind === "file" || field.required || FIRST.has(field.name);
  const more = fields.filter((field) => !isFirst(field));
  const wrong = more.some((field) => rest.problems[field.name]);
  return (
    <Stack>
      {fields.filter(isFirst).map((field) => (
        <Control key={field.name} field={field} {...rest} />
      ))}
      {more.length > 0 && (
        <>
          <Button variant="subtle" leftSection={<IconAdjustmentsHorizontal size={16} />} onClick={toggle} aria-expanded={open || wrong} w="fit-content">
            {t("studio.options", { count: more.length })}
          </Button>
          <Collapse expanded={open || wrong}>
            <Stack>
              {more.map((field) => (
                <Control key={field.name} field={field} {...rest} />
              ))}
            </Stack>
          </Collapse>
        </>
      )}
    </Stack>
  );
}

function Control({ field, model, inputs, files, problems, disabled, onInput, onFiles }: Omit<Props, "fields"> & { field: Field }) {
  const { t, i18n } = useTranslation();
  const value = inputs[field.name];
  const set = (next: unknown) => onInput(field.name, next === "" || next === null ? undefined : next);
  const label = t(`field.${field.name}`, { defaultValue: words(field.name) });
  // Descriptions are the engine's own; those that are known are in the catalogue too.
  const known = i18n.language === "en" ? "" : t([`helpOf.${model}.${field.name}`, `help.${field.name}`], { defaultValue: "" });
  const description = (known || field.description).replaceAll("`", "");
  const shared = { label, description, error: problems[field.name], disabled, required: field.required } as const;
  switch (field.kind) {
    case "file":
      return <FileField field={field} label={label} description={description} error={problems[field.name]} disabled={disabled} files={files[field.name] ?? []} kept={kept(value)} onFiles={(given) => { set(undefined); onFiles(field.name, given); }} />;
    case "choice":
      return (
        <Select
          {...shared}
          data={field.choices.map((choice) => ({ value: String(choice), label: t(`choice.${choice}`, { defaultValue: String(choice).replaceAll("_", " ") }) }))}
          value={value === undefined ? (field.initial === undefined ? null : String(field.initial)) : String(value)}
          placeholder={t("studio.automatic")}
          clearable={field.nullable}
          onChange={(next) => set(field.choices.find((choice) => String(choice) === next))}
        />
      );
    case "toggle":
      return <Switch {...shared} checked={Boolean(value ?? field.initial)} onChange={(event) => set(event.currentTarget.checked)} />;
    case "number":
      return <Figure field={field} shared={shared} value={value as number | undefined} set={set} />;
    case "list":
      return <TagsInput {...shared} value={(value as string[] | undefined) ?? []} onChange={(next) => set(next.length ? next : undefined)} placeholder={t("studio.addByEnter")} />;
    case "colour":
      return <ColorInput {...shared} value={(value as string | undefined) ?? ""} onChange={set} placeholder={t("studio.none")} />;
    case "text":
      return (field.maxLength ?? 0) > 120 ? (
        <Textarea {...shared} autosize minRows={2} maxRows={8} value={(value as string | undefined) ?? ""} placeholder={placeholder(field)} onChange={(event) => set(event.currentTarget.value)} />
      ) : (
        <TextInput {...shared} value={(value as string | undefined) ?? ""} placeholder={placeholder(field)} onChange={(event) => set(event.currentTarget.value)} />
      );
  }
}

type Shared = { label: string; description: string; error: string | undefined; disabled: boolean; required: boolean };

function Figure({ field, shared, value, set }: { field: Field; shared: Shared; value: number | undefined; set: (value: unknown) => void }) {
  const { min, max, initial, integer, nullable } = field;
  if (!nullable && !integer && min !== undefined && max !== undefined && max - min <= 5) {
    return (
      <div>
        <Text component="label" size="sm" fw={500} id={`label-${field.name}`}>{shared.label}</Text>
        <Text size="xs" c="dimmed" mb={6}>{shared.description}</Text>
        <Slider min={min} max={max} step={0.05} disabled={shared.disabled} value={value ?? Number(initial ?? min)} onChange={set} label={(shown) => shown.toFixed(2)} thumbProps={{ "aria-labelledby": `label-${field.name}` }} />
        {shared.error && <Text size="xs" c="red" mt={6}>{shared.error}</Text>}
      </div>
    );
  }
  return (
    <NumberInput
      {...shared}
      value={value ?? (initial as number | undefined) ?? ""}
      allowDecimal={!integer}
      clampBehavior="blur"
      {...(min === undefined ? {} : { min })}
      {...(max === undefined ? {} : { max })}
      onChange={(next) => set(next === "" ? undefined : Number(next))}
    />
  );
}

/** Ids of files of an earlier job. */
const kept = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : value === undefined ? [] : [String(value)]);
const placeholder = (field: Field) => (field.examples[0] === undefined ? "" : String(field.examples[0]));
