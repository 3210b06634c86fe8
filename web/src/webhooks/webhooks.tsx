// Where this tenant is told of its jobs' ends, what it was told, and telling it again.
import { Alert, Anchor, Badge, Button, Checkbox, Code, Group, Modal, MultiSelect, Paper, Stack, Switch, Text, TextInput, Title } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { notifications } from "@mantine/notifications";
import { IconPlus } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useSearchParams } from "wouter";
import { api, ask, type Schemas } from "../api/client";
import { useModels } from "../api/jobs";
import { Ask } from "../parts/ask";
import { Failed, tellFailure } from "../parts/failed";
import { when } from "../parts/format";
import { Loading } from "../parts/loading";
import { Secret } from "../parts/secret";
import { Deliveries } from "./deliveries";

type Webhook = Schemas["WebhookView"];
const EVENTS = ["job.completed", "job.failed", "job.cancelled", "job.expired"];

export function Webhooks() {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [making, form] = useDisclosure(false);
  const [secret, setSecret] = useState<string | null>(null);
  const hooks = useQuery({ queryKey: ["webhooks"], queryFn: async () => (await ask(api.GET("/v1/webhooks"))).data, refetchInterval: 10_000 });
  return (
    <Stack>
      <Group justify="space-between" align="start">
        <div><Title order={1} size="h2">{t("nav.webhooks")}</Title><Text c="dimmed">{t("webhooks.lead")}</Text></div>
        <Button leftSection={<IconPlus size={16} />} onClick={form.open}>{t("webhooks.make")}</Button>
      </Group>
      {hooks.data === undefined && <Loading query={hooks} />}
      {hooks.data?.length === 0 && <Paper withBorder p="xl"><Text ta="center" c="dimmed">{t("webhooks.none")}</Text></Paper>}
      {hooks.data?.map((hook) => <One key={hook.id} hook={hook} onSecret={setSecret} />)}
      <Make opened={making} onClose={form.close} onMade={(made) => { form.close(); setSecret(made); void client.invalidateQueries({ queryKey: ["webhooks"] }); }} />
      <Secret title={t("webhooks.secret")} help={t("webhooks.secretHelp")} value={secret} onClose={() => setSecret(null)} />
    </Stack>
  );
}

function One({ hook, onSecret }: { hook: Webhook; onSecret: (secret: string) => void }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [search, setSearch] = useSearchParams();
  const [asked, setAsked] = useState<"rotate" | "delete" | null>(null);
  const open = search.get("webhook") === hook.id;
  const path = { params: { path: { webhook_id: hook.id } } };
  const again = () => client.invalidateQueries({ queryKey: ["webhooks"] });
  const done = { onError: tellFailure, onSettled: () => { setAsked(null); void again(); } };
  const enable = useMutation({ mutationFn: (enabled: boolean) => ask(api.PATCH("/v1/webhooks/{webhook_id}", { ...path, body: { enabled } })), ...done });
  const rotate = useMutation({ mutationFn: () => ask(api.POST("/v1/webhooks/{webhook_id}/rotate", path)), ...done, onSuccess: (made) => onSecret(made.secret) });
  const remove = useMutation({ mutationFn: () => ask(api.DELETE("/v1/webhooks/{webhook_id}", path)), ...done });
  const test = useMutation({
    mutationFn: () => ask(api.POST("/v1/webhooks/{webhook_id}/test", path)),
    onError: tellFailure,
    onSuccess: (told) => notifications.show({ color: told.delivered ? "teal" : "red", title: t(told.delivered ? "webhooks.reached" : "webhooks.notReached"), message: told.delivered ? t("webhooks.answered", { status: told.status ?? "", ms: Math.round(told.ms) }) : (told.error ?? `HTTP ${told.status ?? "–"}`) }),
  });
  return (
    <Paper withBorder p="md">
      <Group justify="space-between" align="start">
        <div style={{ minWidth: 0, flex: "1 1 260px" }}>
          <Text fw={600} style={{ overflowWrap: "anywhere" }}>{hook.url}</Text>
          {hook.description && <Text size="sm" c="dimmed">{hook.description}</Text>}
          <Group gap={6} mt={6}>
            {hook.events.map((event) => <Badge key={event} variant="light" color="gray" tt="none">{event}</Badge>)}
            <Text size="xs" c="dimmed">{hook.models.length ? hook.models.join(", ") : t("webhooks.allModels")}</Text>
          </Group>
        </div>
        <Switch checked={hook.enabled} disabled={enable.isPending} onChange={(event) => enable.mutate(event.currentTarget.checked)} label={t(hook.enabled ? "webhooks.on" : "webhooks.off")} aria-label={`${t("webhooks.on")} ${hook.url}`} />
      </Group>
      {!hook.enabled && <Alert color="orange" mt="sm" title={t("webhooks.offSince", { at: when(hook.disabled_at_s ?? 0) })}>{hook.disabled_reason} {t("webhooks.offHelp")}</Alert>}
      {hook.enabled && hook.failing_since_s != null && <Alert color="orange" mt="sm">{t("webhooks.failing", { at: when(hook.failing_since_s) })}</Alert>}
      {hook.old_secret_expires_at_s != null && <Text size="xs" c="dimmed" mt="xs">{t("webhooks.twoSecrets", { at: when(hook.old_secret_expires_at_s) })}</Text>}
      <Group gap="xs" mt="sm">
        <Button size="xs" variant="default" aria-expanded={open} onClick={() => setSearch((now) => { if (open) now.delete("webhook"); else now.set("webhook", hook.id); return now; }, { replace: true })}>{t("webhooks.deliveries")}</Button>
        <Button size="xs" variant="default" loading={test.isPending} onClick={() => test.mutate()}>{t("webhooks.test")}</Button>
        <Button size="xs" variant="default" onClick={() => setAsked("rotate")}>{t("webhooks.rotate")}</Button>
        <Button size="xs" variant="subtle" color="red" onClick={() => setAsked("delete")}>{t("webhooks.delete")}</Button>
        <Text size="xs" c="dimmed"><Code>{hook.id}</Code></Text>
      </Group>
      {open && <Deliveries hook={hook} />}
      <Ask opened={asked === "rotate"} title={t("webhooks.rotate")} what={t("webhooks.rotateAsk")} confirm={t("webhooks.rotate")} busy={rotate.isPending} onConfirm={() => rotate.mutate()} onClose={() => setAsked(null)} />
      <Ask opened={asked === "delete"} title={t("webhooks.delete")} what={t("webhooks.deleteAsk")} confirm={t("webhooks.delete")} busy={remove.isPending} onConfirm={() => remove.mutate()} onClose={() => setAsked(null)} />
    </Paper>
  );
}

function Make({ opened, onClose, onMade }: { opened: boolean; onClose: () => void; onMade: (secret: string) => void }) {
  const { t } = useTranslation();
  const models = useModels();
  const [url, setUrl] = useState("");
  const [description, setDescription] = useState("");
  const [events, setEvents] = useState(EVENTS);
  const [only, setOnly] = useState<string[]>([]);
  const make = useMutation({
    mutationFn: () => ask(api.POST("/v1/webhooks", { body: { url: url.trim(), events, ...(only.length ? { models: only } : {}), ...(description.trim() ? { description: description.trim() } : {}) } as never })),
    onSuccess: (made) => { setUrl(""); setDescription(""); onMade(made.secret); },
  });
  return (
    <Modal opened={opened} onClose={onClose} title={t("webhooks.make")}>
      <form onSubmit={(event) => { event.preventDefault(); make.mutate(); }} noValidate>
        <Stack>
          <TextInput label={t("webhooks.url")} description={t("webhooks.urlHelp")} placeholder="https://example.org/springtide" required value={url} onChange={(event) => setUrl(event.currentTarget.value)} data-autofocus />
          <TextInput label={t("webhooks.description")} value={description} onChange={(event) => setDescription(event.currentTarget.value)} />
          <Checkbox.Group label={t("webhooks.events")} value={events} onChange={setEvents}>
            <Group gap="md" mt={6}>{EVENTS.map((event) => <Checkbox key={event} value={event} label={event} />)}</Group>
          </Checkbox.Group>
          <MultiSelect label={t("webhooks.models")} placeholder={only.length ? "" : t("webhooks.allModels")} data={(models.data ?? []).map((each) => each.name)} value={only} onChange={setOnly} searchable clearable />
          {make.isError && <Failed error={make.error} />}
          <Text size="xs" c="dimmed">{t("webhooks.signed")} <Anchor href="/docs" size="xs" underline="always">{t("nav.docs")}</Anchor></Text>
          <Button type="submit" loading={make.isPending} disabled={!url.trim() || events.length === 0}>{t("webhooks.make")}</Button>
        </Stack>
      </form>
    </Modal>
  );
}
