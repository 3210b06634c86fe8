// Who may use this server and how much of it: keys, quotas, and what was used day by day.
import { Alert, Loader, Select, Stack, Tabs, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { useSearchParams } from "wouter";
import { api, ask, Problem } from "../api/client";
import { Failed } from "../parts/failed";
import { Keys } from "./keys";
import { Usage } from "./usage";

export const ALL = "*";
export const isForbidden = (error: unknown): boolean => error instanceof Problem && error.status === 403;

/** Every key of the server; an error where the caller is no operator. */
export function useKeys() {
  return useQuery({ queryKey: ["keys"], queryFn: async () => (await ask(api.GET("/v1/keys"))).data });
}

export function Tenants() {
  const { t } = useTranslation();
  const [search, setSearch] = useSearchParams();
  const keys = useKeys();
  const operator = !isForbidden(keys.error);
  const choose = (name: string, value: string | null) => setSearch((now) => { if (value) now.set(name, value); else now.delete(name); return now; }, { replace: true });
  const everybody = useQuery({
    queryKey: ["usage", ALL, "names"],
    queryFn: async () => [...new Set((await ask(api.GET("/v1/usage", { params: { query: { tenant: ALL } } }))).data.map((row) => row.tenant))],
    enabled: keys.isSuccess,
  });
  if (keys.isPending) return <Loader mx="auto" my="xl" />;
  const names = [...new Set([...(everybody.data ?? []), ...(keys.data ?? []).map((key) => key.tenant)])].sort();
  const tenant = search.get("tenant");
  return (
    <Stack>
      <div><Title order={1} size="h2">{t("nav.tenants")}</Title><Text c="dimmed">{t("tenants.lead")}</Text></div>
      {keys.isError && operator && <Failed error={keys.error} retry={() => void keys.refetch()} />}
      {!operator && <Alert color="cyan">{t("tenants.ownOnly")}</Alert>}
      {operator && <Select label={t("tenants.tenant")} w={260} searchable clearable value={tenant} onChange={(value) => choose("tenant", value)} placeholder={t("tenants.yours")} data={[{ value: ALL, label: t("tenants.all") }, ...names.map((name) => ({ value: name, label: name }))]} />}
      <Tabs value={search.get("tab") ?? "usage"} onChange={(value) => choose("tab", value)} keepMounted={false}>
        <Tabs.List>
          <Tabs.Tab value="usage">{t("tenants.usage")}</Tabs.Tab>
          {operator && <Tabs.Tab value="keys">{t("tenants.keys")}</Tabs.Tab>}
        </Tabs.List>
        <Tabs.Panel value="usage" pt="md"><Usage tenant={tenant} /></Tabs.Panel>
        {operator && <Tabs.Panel value="keys" pt="md"><Keys keys={(keys.data ?? []).filter((key) => !tenant || tenant === ALL || key.tenant === tenant)} tenant={tenant === ALL ? null : tenant} /></Tabs.Panel>}
      </Tabs>
    </Stack>
  );
}
