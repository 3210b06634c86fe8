// A result where it belongs: pictures beside what they were, films in a player, speech with its words.
import { Anchor, Badge, Button, Code, Group, Image, Stack, Table, Text } from "@mantine/core";
import { IconDownload } from "@tabler/icons-react";
import { useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { apiKey, type FileView, type Job, type Model } from "../api/client";
import { bytes, words } from "../parts/format";
import { Compare } from "./compare";
import { type Segment, Transcript } from "./transcript";

type Props = { job: Job; model: Model | undefined; before: string | null; sound: string | null };

/** before: URL of the picture that went in, where it is still here; sound: of the recording. */
export function Results({ job, model, before, sound }: Props) {
  const { t } = useTranslation();
  const outputs = (job.outputs ?? {}) as Record<string, unknown>;
  const files = filesOf(outputs);
  const picture = files.find(([, file]) => file.media_type.startsWith("image/") && file.media_type !== "image/svg+xml");
  const film = files.find(([, file]) => file.media_type.startsWith("video/"));
  const segments = outputs.segments as Segment[] | undefined;
  return (
    <Stack>
      {film ? <Film file={film[1]} poster={picture?.[1]} /> : picture && (before ? <Compare before={before} after={linkTo(picture[1])} /> : <Picture file={picture[1]} />)}
      {segments && <Transcript segments={segments} text={String(outputs.text ?? "")} sound={sound} />}
      <Group gap="xs">
        {files.length > 0 && <Text size="sm" c="dimmed">{t("result.download")}</Text>}
        {files.map(([name, file]) => (
          <Button key={`${name}-${file.id}`} component="a" href={linkTo(file)} download={file.name ?? `${job.model}-${name}${ending(file.media_type)}`} variant={file === (film ?? picture)?.[1] ? "filled" : "default"} size="xs" leftSection={<IconDownload size={16} />}>
            {t(`output.${name}`, { defaultValue: words(name) })} · {bytes(file.bytes)}
          </Button>
        ))}
      </Group>
      <Facts outputs={outputs} model={model} />
    </Stack>
  );
}

function Picture({ file }: { file: FileView }) {
  return <Image className="checkerboard" src={linkTo(file)} alt={file.name ?? ""} radius="md" mah="60vh" fit="contain" />;
}

function Film({ file, poster }: { file: FileView; poster: FileView | undefined }) {
  const { t } = useTranslation();
  const [unplayable, setUnplayable] = useState(false);
  const player = useRef<HTMLVideoElement>(null);
  if (unplayable) return <Text c="dimmed" size="sm">{t("result.unplayable", { kind: file.media_type })}</Text>;
  return (
    <video ref={player} className="checkerboard" src={linkTo(file)} {...(poster ? { poster: linkTo(poster) } : {})} controls playsInline preload="metadata"
      style={{ display: "block", maxWidth: "100%", maxHeight: "60vh", minWidth: 240, margin: "0 auto", borderRadius: 8 }} onError={() => setUnplayable(true)} aria-label={t("result.film")} />
  );
}

const SHOWN = new Set(["engine", "model", "version", "license", "generative", "seconds", "text", "segments"]);

function Facts({ outputs, model }: { outputs: Record<string, unknown>; model: Model | undefined }) {
  const { t } = useTranslation();
  const yesOrNo = (value: boolean) => t(value ? "result.yes" : "result.no");
  const plain = Object.entries(outputs).flatMap(([name, value]) => {
    const told = SHOWN.has(name) ? null : inWords(value, yesOrNo);
    return told === null ? [] : [[name, told] as const];
  });
  const seconds = outputs.seconds;
  return (
    <Stack gap={6}>
      <Group gap="xs">
        {typeof outputs.model === "string" && outputs.model !== "none" && <Badge variant="light" color="gray" tt="none">{outputs.model}</Badge>}
        {typeof outputs.license === "string" && <Badge variant="light" color="gray" tt="none">{outputs.license}</Badge>}
        {outputs.generative === true && <Badge variant="light" color="orange" tt="none">{t("result.generative")}</Badge>}
        {model?.commercial_use === "no" && <Badge variant="light" color="red" tt="none">{t("models.nonCommercial")}</Badge>}
        {typeof seconds === "number" && <Text size="xs" c="dimmed">{t("result.computed", { seconds: seconds.toFixed(1) })}</Text>}
      </Group>
      {plain.length > 0 && (
        <Table withRowBorders={false} verticalSpacing={2} w="fit-content" fz="xs">
          <Table.Tbody>
            {plain.map(([name, value]) => (
              <Table.Tr key={name}>
                <Table.Td c="dimmed">{t(`output.${name}`, { defaultValue: words(name) })}</Table.Td>
                <Table.Td><Code>{value}</Code></Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
    </Stack>
  );
}

const LONGEST = 200; // letters of a fact, and things of a list; more is in the JSON

/** A plain value, or a list of them, such as the words of a prompt that were understood; null of anything else. */
function inWords(value: unknown, yesOrNo: (value: boolean) => string): string | null {
  if (typeof value === "number") return String(Number(value.toFixed(3)));
  if (typeof value === "boolean") return yesOrNo(value);
  if (typeof value === "string") return value.length < LONGEST ? value : null;
  if (!Array.isArray(value) || value.length > LONGEST || value.some(isFile)) return null;
  const items = value.map((item: unknown) => inWords(isMeaning(item) ? `${item.words} → ${item.meaning}` : item, yesOrNo));
  return items.includes(null) ? null : items.join(", ") || "–";
}

function isMeaning(value: unknown): value is { words: string; meaning: string } {
  return typeof value === "object" && value !== null && "words" in value && "meaning" in value;
}

export function filesOf(outputs: Record<string, unknown>): [string, FileView][] {
  return Object.entries(outputs).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).filter(isFile).map((file): [string, FileView] => [name, file]),
  );
}

function isFile(value: unknown): value is FileView {
  return typeof value === "object" && value !== null && "media_type" in value && "url" in value;
}

/** The same server by the name this page has: a proxy may know it by another. */
export function here(url: string): string {
  const given = new URL(url, location.href);
  return given.pathname.startsWith("/v1/") ? given.pathname + given.search : url;
}

/** Where an <img> or a download gets a file: they send no key, so with one the link is signed. */
export function linkTo(file: FileView): string {
  return here(apiKey.get() === null ? file.url : file.signed_url);
}

function ending(kind: string): string {
  const known: Record<string, string> = { "image/jpeg": ".jpg", "video/quicktime": ".mov", "application/x-subrip": ".srt", "text/plain": ".txt" };
  return known[kind] ?? `.${(kind.split("/")[1] ?? "bin").replace(/^x-/, "").split("+")[0]}`;
}

export function Raw({ job }: { job: Job }) {
  const { t } = useTranslation();
  if (apiKey.get() !== null) return null; // a link sends no key
  return <Anchor href={`/v1/jobs/${job.id}`} size="xs">{t("job.json")}</Anchor>;
}
