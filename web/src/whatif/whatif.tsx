// Scaling policies tried on a trace before one trusts them: choose, watch, compare, copy the settings that won.
import { Alert, Anchor, Button, Chip, Code, Grid, Group, Input, NumberInput, Paper, Progress, SegmentedControl, Select, Stack, Switch, Text, Title } from "@mantine/core";
import { Dropzone } from "@mantine/dropzone";
import { IconPlayerPlay, IconUpload } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { Link, useLocation, useSearchParams } from "wouter";
import { api, ask, type Job, type Model, Problem, read } from "../api/client";
import { isOver, SIMULATOR, useJob, useModels } from "../api/jobs";
import { newKey, submit } from "../api/submit";
import { Copy } from "../parts/copy";
import { Failed } from "../parts/failed";
import { bytes, when } from "../parts/format";
import { Loading } from "../parts/loading";
import { titleOf } from "../parts/title";
import { JobProgress, Status } from "../studio/progress";
import { Outcome } from "./outcome";

const POLICIES = ["tide", "queue", "utilization", "trisignal", "hpa", "keda", "kpa", "ray", "idle"];
const FAMILIES = ["tide", "weekly", "flash", "onoff", "walk", "silence", "ramp", "steady", "hourly", "heavy", "clumps", "short", "long"];
const SPANS_S: Record<string, number> = { "24h": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400 };
const LINES = `[models.${SIMULATOR}]\nengine = "${SIMULATOR}"\n`;

export function WhatIf() {
  const { t } = useTranslation();
  const models = useModels();
  const [search] = useSearchParams();
  const job = useJob(search.get("job"));
  if (models.data === undefined) return <Loading query={models} />;
  const served = models.data.some((model) => model.name === SIMULATOR);
  const busy = job.data !== undefined && !isOver(job.data);
  return (
    <Stack>
      <div><Title order={1} size="h2">{t("nav.what-if")}</Title><Text c="dimmed">{t("whatif.lead")}</Text></div>
      {!served ? <Absent /> : (
        <Grid gap="xl">
          <Grid.Col span={{ base: 12, lg: 4 }} order={{ base: search.get("job") === null ? 1 : 2, lg: 1 }}><Wish models={models.data} busy={busy} /></Grid.Col>
          <Grid.Col span={{ base: 12, lg: 8 }} order={{ base: search.get("job") === null ? 2 : 1, lg: 2 }}>{search.get("job") === null ? <Beginning /> : <Found job={job} />}</Grid.Col>
        </Grid>
      )}
    </Stack>
  );
}

function Absent() {
  const { t } = useTranslation();
  return (
    <Alert title={t("whatif.absent")}>
      <Stack gap="xs"><Text size="sm">{t("whatif.absentHelp")}</Text><Code block>{LINES}</Code><Copy text={LINES} label="TOML" /></Stack>
    </Alert>
  );
}

type Source = "here" | "invent" | "file";
type Settings = { wait_s: number; share: number; cold_start_s: number; min_replicas: number; max_replicas: number | null; tune: boolean };

function Wish({ models, busy }: { models: Model[]; busy: boolean }) {
  const { t } = useTranslation();
  const [, navigate] = useLocation();
  const [source, setSource] = useState<Source>("here");
  const [span, setSpan] = useState("24h");
  const [model, setModel] = useState<string | null>(null);
  const [family, setFamily] = useState("tide");
  const [days, setDays] = useState(1);
  const [load, setLoad] = useState<number | null>(null);
  const [file, setFile] = useState<File | null>(null);
  const [policies, setPolicies] = useState(["tide", "hpa", "kpa", "ray"]);
  const [settings, setSettings] = useState<Settings>({ wait_s: 30, share: 99, cold_start_s: 40, min_replicas: 0, max_replicas: null, tune: true });
  const [upload, setUpload] = useState<number | null>(null);
  const [error, setError] = useState<unknown>(null);
  const key = useRef(newKey());
  const set = <K extends keyof Settings>(name: K, value: Settings[K]) => setSettings((now) => ({ ...now, [name]: value }));
  const figure = (name: "wait_s" | "share" | "cold_start_s" | "min_replicas", min: number, max: number, suffix = "") => (
    <NumberInput key={name} label={t(`whatif.${name}`)} suffix={suffix} min={min} max={max} clampBehavior="blur" value={settings[name]} onChange={(value) => typeof value === "number" && set(name, value)} />
  );
  const send = async () => {
    setError(null);
    setUpload(0);
    try {
      const inputs: Record<string, unknown> = { ...settings, share: settings.share / 100, policies, ...(load === null ? {} : { load }), ...(model && source === "here" ? { settings_for: model } : {}) };
      if (inputs.max_replicas === null) delete inputs.max_replicas;
      if (source === "invent") Object.assign(inputs, { invent: family, days });
      const given = source === "file" ? file : source === "here" ? await history(SPANS_S[span]!, model, `${model ?? "all"}-${span}.csv`) : null;
      if (source === "here" && given === null) throw new Problem(422, "no_history", t("whatif.noHistory"));
      const accepted = await submit(SIMULATOR, inputs, given ? { trace: [given] } : {}, key.current, setUpload);
      key.current = newKey();
      navigate(`/what-if?job=${accepted.id}`);
    } catch (raised) {
      key.current = newKey();
      setError(raised);
    } finally {
      setUpload(null);
    }
  };
  const names = models.filter((each) => each.name !== SIMULATOR).map((each) => ({ value: each.name, label: titleOf(t, each) }));
  return (
    <form onSubmit={(event) => { event.preventDefault(); void send(); }} noValidate>
      <Stack>
        <Input.Wrapper label={t("whatif.source")} labelElement="div">
          <SegmentedControl fullWidth mt={4} value={source} onChange={(value) => setSource(value as Source)} data={(["here", "invent", "file"] as const).map((value) => ({ value, label: t(`whatif.${value}`) }))} aria-label={t("whatif.source")} />
        </Input.Wrapper>
        {source === "here" && (
          <Group grow>
            <Select label={t("whatif.span")} value={span} allowDeselect={false} onChange={(value) => value && setSpan(value)} data={Object.keys(SPANS_S).map((value) => ({ value, label: t(`whatif.${value}`) }))} />
            <Select label={t("history.model")} value={model} onChange={setModel} clearable placeholder={t("history.all")} data={names} />
          </Group>
        )}
        {source === "invent" && (
          <>
            <Select label={t("whatif.family")} description={t(`family.${family}`)} value={family} allowDeselect={false} onChange={(value) => value && setFamily(value)} data={FAMILIES.map((value) => ({ value, label: t(`familyName.${value}`) }))} />
            <Group grow>
              <NumberInput label={t("whatif.days")} min={0.02} max={31} clampBehavior="blur" value={days} onChange={(value) => typeof value === "number" && setDays(value)} />
              <NumberInput label={t("whatif.load")} min={0.1} max={1000} clampBehavior="blur" placeholder="6" value={load ?? ""} onChange={(value) => setLoad(typeof value === "number" ? value : null)} />
            </Group>
          </>
        )}
        {source === "file" && (
          <Dropzone onDrop={(given) => setFile(given[0] ?? null)} multiple={false} inputProps={{ "aria-label": t("whatif.drop") }} p="md">
            <Group justify="center" gap="sm" style={{ pointerEvents: "none" }}><IconUpload size={20} aria-hidden /><Text size="sm">{file ? `${file.name} · ${bytes(file.size)}` : t("whatif.drop")}</Text></Group>
          </Dropzone>
        )}
        <Input.Wrapper label={t("whatif.policies")} description={t("whatif.policiesHelp")} labelElement="div">
          <Chip.Group multiple value={policies} onChange={setPolicies}>
            <Group gap={6} mt={6}>{POLICIES.map((name) => <Chip key={name} value={name} size="xs" title={t(`policy.${name}`)}>{t(`policyName.${name}`, { defaultValue: name })}</Chip>)}</Group>
          </Chip.Group>
        </Input.Wrapper>
        <Group grow align="end">{figure("wait_s", 0.1, 86_400, " s")}{figure("share", 50, 99.99, " %")}</Group>
        <Group grow align="end">
          {figure("cold_start_s", 0.1, 7200, " s")}
          {figure("min_replicas", 0, 1000)}
          <NumberInput label={t("whatif.max_replicas")} min={1} max={10_000} clampBehavior="blur" placeholder={t("whatif.any")} value={settings.max_replicas ?? ""} onChange={(value) => set("max_replicas", typeof value === "number" ? value : null)} />
        </Group>
        <Switch label={t("whatif.tune")} description={t("whatif.tuneHelp")} checked={settings.tune} onChange={(event) => set("tune", event.currentTarget.checked)} />
        {error !== null && <Failed error={error} />}
        {upload !== null && <Progress value={upload * 100} animated aria-label={t("studio.uploading")} />}
        <Button type="submit" size="md" leftSection={<IconPlayerPlay size={18} />} loading={upload !== null} disabled={busy || policies.length === 0 || (source === "file" && !file)}>{t("whatif.run")}</Button>
      </Stack>
    </form>
  );
}

/** What came here in the last seconds, as a file of the simulator's; null where nothing came to a result. */
async function history(span_s: number, model: string | null, name: string): Promise<File | null> {
  const query = new URLSearchParams({ since_s: String(Math.round(Date.now() / 1000) - span_s), ...(model ? { model } : {}) });
  const text = await (await read(`/v1/trace?${query}`)).text();
  return text.trimEnd().split("\n", 3).length < 3 ? null : new File([text], name, { type: "text/csv" });
}

function Beginning() {
  const { t } = useTranslation();
  const earlier = useQuery({
    queryKey: ["jobs", SIMULATOR, "earlier"],
    queryFn: async () => (await ask(api.GET("/v1/jobs", { params: { query: { model: SIMULATOR, limit: 8 } } }))).data as Job[],
  });
  return (
    <Paper withBorder p="xl" bg="var(--mantine-color-default-hover)">
      <Text c="dimmed" ta="center">{t("whatif.empty")}</Text>
      {earlier.data && earlier.data.length > 0 && (
        <Stack gap={6} mt="lg">
          <Text fw={600} size="sm">{t("whatif.earlier")}</Text>
          {earlier.data.map((job) => (
            <Group key={job.id} gap="sm">
              <Status status={job.status} />
              <Anchor component={Link} href={`/what-if?job=${job.id}`} size="sm" underline="always">{traceOf(job)}</Anchor>
              <Text size="xs" c="dimmed">{when(job.created_at_s)}</Text>
            </Group>
          ))}
        </Stack>
      )}
    </Paper>
  );
}

function traceOf(job: Job): string {
  const [inputs, outputs] = [job.inputs as Record<string, unknown>, (job.outputs ?? {}) as Record<string, unknown>];
  return String(outputs.trace ?? inputs.invent ?? job.id);
}

function Found({ job }: { job: ReturnType<typeof useJob> }) {
  const { t } = useTranslation();
  if (job.data === undefined) return <Loading query={job} />;
  return (
    <Stack>
      {job.data.status === "completed" ? <Outcome job={job.data} /> : <JobProgress job={job.data} />}
      <Anchor component={Link} href="/what-if" size="sm" underline="always">{t("whatif.others")}</Anchor>
    </Stack>
  );
}
