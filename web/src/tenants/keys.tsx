// API keys: made here, shown once, revoked after one question. Without their secrets they stay in the list.
import { Badge, Button, Checkbox, Group, Modal, Paper, Select, Stack, Table, Text, TextInput } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconPlus } from "@tabler/icons-react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api, ask, type Schemas } from "../api/client";
import { Ask } from "../parts/ask";
import { Failed } from "../parts/failed";
import { when } from "../parts/format";
import { Secret } from "../parts/secret";

type Key = Schemas["KeyView"];
const SCOPES = ["read", "submit", "admin"];
const DAY_S = 86_400;
const COLOURS: Record<string, string> = { valid: "teal", expired: "orange", revoked: "gray" };

export function Keys({ keys, tenant }: { keys: Key[]; tenant: string | null }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [making, form] = useDisclosure(false);
  const [secret, setSecret] = useState<string | null>(null);
  const [ending, setEnding] = useState<Key | null>(null);
  const revoke = useMutation({
    mutationFn: (id: string) => ask(api.DELETE("/v1/keys/{key_id}", { params: { path: { key_id: id } } })),
    onSettled: () => { setEnding(null); void client.invalidateQueries({ queryKey: ["keys"] }); },
  });
  const newest = [...keys].sort((a, b) => b.created_at.localeCompare(a.created_at));
  return (
    <Stack>
      <Group justify="space-between"><Text size="sm" c="dimmed">{t("keys.lead")}</Text><Button size="xs" leftSection={<IconPlus size={16} />} onClick={form.open}>{t("keys.make")}</Button></Group>
      {revoke.isError && <Failed error={revoke.error} />}
      {newest.length === 0 ? <Paper withBorder p="xl"><Text ta="center" c="dimmed">{t("keys.none")}</Text></Paper> : (
        <Table.ScrollContainer className="cards" type="native" minWidth={720}>
          <Table fz="sm" highlightOnHover>
            <Table.Thead><Table.Tr>{["id", "tenant", "name", "scopes", "state", "used", "expires"].map((name) => <Table.Th key={name}>{t(`keys.${name}`)}</Table.Th>)}<Table.Th aria-label={t("history.actions")} /></Table.Tr></Table.Thead>
            <Table.Tbody>
              {newest.map((key) => (
                <Table.Tr key={key.id}>
                  <Table.Td data-label={t("keys.id")} ff="monospace">{key.id}…</Table.Td>
                  <Table.Td data-label={t("keys.tenant")}>{key.tenant}</Table.Td>
                  <Table.Td data-label={t("keys.name")}>{key.name ?? "–"}</Table.Td>
                  <Table.Td data-label={t("keys.scopes")}>{key.scopes.join(", ")}</Table.Td>
                  <Table.Td data-label={t("keys.state")}><Badge variant="light" tt="none" color={COLOURS[key.state] ?? "gray"}>{t(`keys.${key.state}`)}</Badge></Table.Td>
                  <Table.Td data-label={t("keys.used")}>{key.last_used_at ? when(Date.parse(key.last_used_at) / 1000) : t("keys.never")}</Table.Td>
                  <Table.Td data-label={t("keys.expires")}>{key.expires_at ? when(Date.parse(key.expires_at) / 1000) : "–"}</Table.Td>
                  <Table.Td>{key.state === "valid" && <Button size="compact-xs" variant="subtle" color="red" onClick={() => setEnding(key)} aria-label={`${t("keys.revoke")} ${key.id}`}>{t("keys.revoke")}</Button>}</Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      )}
      <Make opened={making} tenant={tenant} onClose={form.close} onMade={(made) => { form.close(); setSecret(made); void client.invalidateQueries({ queryKey: ["keys"] }); }} />
      <Secret title={t("keys.made")} help={t("keys.madeHelp")} value={secret} onClose={() => setSecret(null)} />
      <Ask opened={ending !== null} title={t("keys.revoke")} what={t("keys.revokeAsk", { id: ending?.id ?? "", tenant: ending?.tenant ?? "" })} confirm={t("keys.revoke")} busy={revoke.isPending} onConfirm={() => ending && revoke.mutate(ending.id)} onClose={() => setEnding(null)} />
    </Stack>
  );
}

function Make({ opened, tenant, onClose, onMade }: { opened: boolean; tenant: string | null; onClose: () => void; onMade: (key: string) => void }) {
  const { t } = useTranslation();
  const [whose, setWhose] = useState<string | null>(null);
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState(["read", "submit"]);
  const [days, setDays] = useState<string | null>(null);
  const owner = (whose ?? tenant ?? "").trim();
  const make = useMutation({
    mutationFn: () => ask(api.POST("/v1/keys", { body: { tenant: owner, scopes: scopes as ("read" | "submit" | "admin")[], ...(name.trim() ? { name: name.trim() } : {}), ...(days ? { expires_in_s: Number(days) * DAY_S } : {}) } })),
    onSuccess: (made) => { setName(""); setWhose(null); onMade(made.key); },
  });
  return (
    <Modal opened={opened} onClose={onClose} title={t("keys.make")}>
      <form onSubmit={(event) => { event.preventDefault(); make.mutate(); }} noValidate>
        <Stack>
          <TextInput label={t("keys.tenant")} description={t("keys.tenantHelp")} required value={whose ?? tenant ?? ""} onChange={(event) => setWhose(event.currentTarget.value)} data-autofocus />
          <TextInput label={t("keys.name")} description={t("keys.nameHelp")} value={name} onChange={(event) => setName(event.currentTarget.value)} />
          <Checkbox.Group label={t("keys.scopes")} value={scopes} onChange={setScopes}>
            <Stack gap={6} mt={6}>{SCOPES.map((scope) => <Checkbox key={scope} value={scope} label={scope} description={t(`scope.${scope}`)} />)}</Stack>
          </Checkbox.Group>
          <Select label={t("keys.expires")} value={days} onChange={setDays} clearable placeholder={t("keys.neverExpires")} data={["1", "30", "90", "365"].map((value) => ({ value, label: t("keys.days", { count: Number(value) }) }))} />
          {make.isError && <Failed error={make.error} />}
          <Button type="submit" loading={make.isPending} disabled={!owner || scopes.length === 0}>{t("keys.make")}</Button>
        </Stack>
      </form>
    </Modal>
  );
}
