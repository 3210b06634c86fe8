// By hand: so many replicas, or none begun for a while. On record at once, and shown to everybody who asks why.
import { Alert, Badge, Button, Group, Modal, NumberInput, Select, Stack, Text, TextInput } from "@mantine/core";
import { IconPlayerPause, IconPlayerPlay, IconRobot, IconUsersGroup } from "@tabler/icons-react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api, ask, type Model } from "../api/client";
import { tellFailure } from "../parts/failed";
import { when } from "../parts/format";

const SPANS_S = { "1h": 3600, "6h": 21_600, "24h": 86_400 } as const;

export function Operate({ model }: { model: Model }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [asked, setAsked] = useState<"pause" | "scale" | null>(null);
  const path = { params: { path: { name: model.name } } };
  const done = {
    onError: tellFailure,
    onSuccess: () => setAsked(null),
    onSettled: () => { void client.invalidateQueries({ queryKey: ["models"] }); void client.invalidateQueries({ queryKey: ["scaling"] }); },
  };
  const pause = useMutation({ mutationFn: (note: string) => ask(api.POST("/v1/models/{name}/pause", { ...path, body: (note ? { note } : {}) as never })), ...done });
  const resume = useMutation({ mutationFn: () => ask(api.POST("/v1/models/{name}/resume", path)), ...done });
  const scale = useMutation({ mutationFn: (wish: { replicas: number | "auto"; for_s?: number; note?: string }) => ask(api.POST("/v1/models/{name}/scale", { ...path, body: wish as never })), ...done });
  const { paused, pinned } = model;
  return (
    <Stack gap="xs" mb="sm">
      <Group gap="xs">
        {paused
          ? <Button size="xs" leftSection={<IconPlayerPlay size={16} />} loading={resume.isPending} onClick={() => resume.mutate()}>{t("operate.resume")}</Button>
          : <Button size="xs" variant="default" leftSection={<IconPlayerPause size={16} />} onClick={() => setAsked("pause")}>{t("operate.pause")}</Button>}
        <Button size="xs" variant="default" leftSection={<IconUsersGroup size={16} />} onClick={() => setAsked("scale")}>{t("operate.scale")}</Button>
        {pinned && <Button size="xs" variant="default" leftSection={<IconRobot size={16} />} loading={scale.isPending} onClick={() => scale.mutate({ replicas: "auto" })}>{t("operate.auto")}</Button>}
        {pinned && <Badge variant="light" tt="none">{pinned.until_s == null ? t("operate.pinned", { count: pinned.replicas }) : t("operate.pinnedUntil", { count: pinned.replicas, until: when(pinned.until_s) })}</Badge>}
      </Group>
      {paused && <Alert color="orange" icon={<IconPlayerPause size={18} />}>{t("operate.paused", { at: when(paused.at_s) })} {paused.note}</Alert>}
      <Pause opened={asked === "pause"} busy={pause.isPending} onPause={(note) => pause.mutate(note)} onClose={() => setAsked(null)} />
      <Scale opened={asked === "scale"} busy={scale.isPending} now={pinned?.replicas ?? (model.live ? model.live.workers.ready + model.live.workers.busy : 1)} onScale={(wish) => scale.mutate(wish)} onClose={() => setAsked(null)} />
    </Stack>
  );
}

function Pause({ opened, busy, onPause, onClose }: { opened: boolean; busy: boolean; onPause: (note: string) => void; onClose: () => void }) {
  const { t } = useTranslation();
  const [note, setNote] = useState("");
  return (
    <Modal opened={opened} onClose={onClose} title={t("operate.pause")}>
      <form onSubmit={(event) => { event.preventDefault(); onPause(note.trim()); }}>
        <Stack>
          <Text size="sm">{t("operate.pauseAsk")}</Text>
          <TextInput label={t("operate.note")} maxLength={200} value={note} onChange={(event) => setNote(event.currentTarget.value)} data-autofocus />
          <Group justify="end"><Button variant="default" onClick={onClose}>{t("ask.leave")}</Button><Button type="submit" color="red" loading={busy}>{t("operate.pause")}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}

function Scale({ opened, busy, now, onScale, onClose }: { opened: boolean; busy: boolean; now: number; onScale: (wish: { replicas: number; for_s?: number; note?: string }) => void; onClose: () => void }) {
  const { t } = useTranslation();
  const [chosen, setChosen] = useState<number | null>(null);
  const [span, setSpan] = useState<string | null>(null);
  const [note, setNote] = useState("");
  const for_s = span ? SPANS_S[span as keyof typeof SPANS_S] : undefined;
  return (
    <Modal opened={opened} onClose={onClose} title={t("operate.scale")}>
      <form onSubmit={(event) => { event.preventDefault(); onScale({ replicas: chosen ?? now, ...(for_s ? { for_s } : {}), ...(note.trim() ? { note: note.trim() } : {}) }); }} noValidate>
        <Stack>
          <Text size="sm">{t("operate.scaleAsk")}</Text>
          <NumberInput label={t("fleet.replicas")} min={0} max={10_000} clampBehavior="blur" value={chosen ?? now} onChange={(value) => typeof value === "number" && setChosen(value)} data-autofocus />
          <Select label={t("operate.for")} clearable placeholder={t("operate.always")} value={span} onChange={setSpan} data={Object.keys(SPANS_S).map((value) => ({ value, label: t(`fleet.${value}`) }))} />
          <TextInput label={t("operate.note")} maxLength={200} value={note} onChange={(event) => setNote(event.currentTarget.value)} />
          <Group justify="end"><Button variant="default" onClick={onClose}>{t("ask.leave")}</Button><Button type="submit" loading={busy}>{t("operate.set")}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}
