// Files by drop, click, paste or microphone, each with a preview before anything is sent.
import { ActionIcon, Button, Group, Image, Input, Stack, Text } from "@mantine/core";
import { Dropzone } from "@mantine/dropzone";
import { IconMicrophone, IconPlayerStop, IconUpload, IconX } from "@tabler/icons-react";
import { useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { useQuery } from "@tanstack/react-query";
import { read } from "../api/client";
import type { Field } from "../api/schema-fields";
import { bytes } from "../parts/format";

type Props = {
  field: Field;
  label: string;
  description: string;
  error: string | undefined;
  disabled: boolean;
  files: File[];
  kept: string[];
  onFiles: (files: File[]) => void;
};

export function FileField({ field, label, description, error, disabled, files, kept, onFiles }: Props) {
  const { t } = useTranslation();
  const [refused, setRefused] = useState<string | null>(null);
  const takes = (file: File) => field.accept.some((kind) => fits(file.type, kind));
  usePaste((pasted) => {
    const taken = pasted.filter(takes);
    if (taken.length && !disabled && (field.many || files.length === 0)) onFiles(field.many ? [...files, ...taken] : taken.slice(0, 1));
  });
  const kinds = field.accept.map((kind) => t(`media.${kind.split("/")[0]}`, { defaultValue: kind })).join(t("studio.or"));
  return (
    <Input.Wrapper label={label} description={description} error={error ?? refused} required={field.required} labelElement="div">
      <Stack gap="xs" mt={6}>
        {kept.map((id) => (
          <Group key={id} wrap="nowrap" p="xs" style={{ border: "1px solid var(--mantine-color-default-border)", borderRadius: 8 }}>
            <Text size="sm" truncate style={{ flex: 1 }}>{t("studio.earlier")}</Text>
            {!disabled && <ActionIcon variant="subtle" color="gray" onClick={() => onFiles([])} aria-label={t("studio.remove", { name: id })}><IconX size={18} /></ActionIcon>}
          </Group>
        ))}
        {files.map((file, place) => (
          <Chosen key={`${file.name}-${place}`} file={file} onRemove={disabled ? undefined : () => onFiles(files.filter((_, other) => other !== place))} />
        ))}
        {(field.many || files.length + kept.length === 0) && (
          <Dropzone
            onDrop={(given) => { setRefused(null); onFiles(field.many ? [...files, ...given] : given.slice(0, 1)); }}
            onReject={(given) => setRefused(t("studio.wrongKind", { name: given[0]?.file.name ?? "", kinds }))}
            accept={Object.fromEntries(field.accept.map((kind) => [kind, []]))}
            multiple={field.many}
            disabled={disabled}
            inputProps={{ "aria-label": label }}
            p="md"
          >
            <Group justify="center" gap="sm" style={{ pointerEvents: "none" }}>
              <IconUpload size={22} aria-hidden />
              <Text size="sm">{t("studio.drop", { kinds })}</Text>
            </Group>
          </Dropzone>
        )}
        {files.length + kept.length === 0 && !disabled && field.accept.some((kind) => kind.startsWith("audio/")) && <Recorder onFile={(file) => onFiles([file])} />}
      </Stack>
    </Input.Wrapper>
  );
}

function Chosen({ file, onRemove }: { file: File; onRemove: (() => void) | undefined }) {
  const { t } = useTranslation();
  const url = useObjectUrl(file);
  return (
    <Group wrap="nowrap" align="center" p="xs" style={{ border: "1px solid var(--mantine-color-default-border)", borderRadius: 8 }}>
      {file.type.startsWith("image/") && url && <Image src={url} alt={file.name} h={64} w={64} fit="cover" radius="sm" />}
      {file.type.startsWith("video/") && url && <video src={url} muted height={64} style={{ borderRadius: 4 }} />}
      <Stack gap={2} style={{ flex: 1, minWidth: 0 }}>
        <Text size="sm" truncate>{file.name}</Text>
        <Text size="xs" c="dimmed">{bytes(file.size)}</Text>
        {file.type.startsWith("audio/") && url && <audio src={url} controls style={{ width: "100%", height: 32 }} />}
      </Stack>
      {onRemove && (
        <ActionIcon variant="subtle" color="gray" onClick={onRemove} aria-label={t("studio.remove", { name: file.name })}>
          <IconX size={18} />
        </ActionIcon>
      )}
    </Group>
  );
}

function Recorder({ onFile }: { onFile: (file: File) => void }) {
  const { t } = useTranslation();
  const recorder = useRef<MediaRecorder | null>(null);
  const [state, setState] = useState<"idle" | "recording" | "refused">("idle");
  if (!navigator.mediaDevices?.getUserMedia) return null; // a page that is not on https or this machine
  const start = async () => {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const parts: Blob[] = [];
      const made = (recorder.current = new MediaRecorder(stream));
      made.ondataavailable = (event) => parts.push(event.data);
      made.onstop = () => {
        stream.getTracks().forEach((track) => track.stop());
        const type = made.mimeType.split(";")[0] ?? "audio/webm";
        onFile(new File(parts, `recording.${type.split("/")[1] ?? "webm"}`, { type }));
        setState("idle");
      };
      made.start();
      setState("recording");
    } catch {
      setState("refused");
    }
  };
  return (
    <Group gap="sm">
      {state === "recording" ? (
        <Button color="red" size="xs" leftSection={<IconPlayerStop size={16} />} onClick={() => recorder.current?.stop()}>{t("studio.stopRecording")}</Button>
      ) : (
        <Button variant="default" size="xs" leftSection={<IconMicrophone size={16} />} onClick={() => void start()}>{t("studio.record")}</Button>
      )}
      {state === "refused" && <Text size="xs" c="red">{t("studio.noMicrophone")}</Text>}
    </Group>
  );
}

/** Files pasted anywhere on the page. */
function usePaste(onPaste: (files: File[]) => void): void {
  const latest = useRef(onPaste);
  latest.current = onPaste;
  useEffect(() => {
    const listen = (event: ClipboardEvent) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length) latest.current(files);
    };
    window.addEventListener("paste", listen);
    return () => window.removeEventListener("paste", listen);
  }, []);
}

export function useObjectUrl(file: File | null): string | null {
  const [url, setUrl] = useState<string | null>(null);
  useEffect(() => {
    if (!file) return undefined;
    const made = URL.createObjectURL(file);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [file]);
  return url;
}

/** A file that an earlier look at the page sent, as the server keeps it; null until it is here, and where it is gone. */
export function useKept(id: string | null): { url: string; type: string } | null {
  const found = useQuery({ queryKey: ["blob", id], queryFn: async () => (await read(`/v1/blobs/${id}`)).blob(), enabled: id !== null, staleTime: Infinity, retry: false });
  const [kept, setKept] = useState<{ url: string; type: string } | null>(null);
  useEffect(() => {
    if (!found.data) return undefined;
    const url = URL.createObjectURL(found.data);
    setKept({ url, type: found.data.type });
    return () => { URL.revokeObjectURL(url); setKept(null); };
  }, [found.data]);
  return kept;
}

export function fits(type: string, kind: string): boolean {
  return kind === "*/*" || type === kind || (kind.endsWith("/*") && type.startsWith(kind.slice(0, -1)));
}
