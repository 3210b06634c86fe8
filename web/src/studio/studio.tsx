// Choose a model, give it files, watch it, take the result. The job in the address survives a reload.
import { Alert, Badge, Button, Card, Grid, Group, Image, Paper, Progress, SimpleGrid, Stack, Text, Title, UnstyledButton } from "@mantine/core";
import { IconArrowLeft, IconClock, IconPlayerPlay, IconPlus, IconSparkles } from "@tabler/icons-react";
import { useEffect, useMemo, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { useLocation, useSearchParams } from "wouter";
import { type Model, Problem } from "../api/client";
import { useEstimate } from "../api/estimate";
import { isOver, SIMULATOR, useJob, useModels } from "../api/jobs";
import { fieldsOf } from "../api/schema-fields";
import { type Inputs, newKey, submit } from "../api/submit";
import { Failed, fieldSaid } from "../parts/failed";
import { duration, words } from "../parts/format";
import { Loading } from "../parts/loading";
import { saidFault } from "../parts/said";
import { Told } from "../parts/told";
import { descriptionOf, titleOf } from "../parts/title";
import { exampleOf, hasExample } from "./example";
import { useKept, useObjectUrl } from "./files";
import { Form } from "./form";
import { Heard, JobProgress } from "./progress";
import { Raw, Results } from "./results";

export const TOOLS = new Set([SIMULATOR]);
const MAIN = new Set(["image", "video", "audio"]); // what a result is made of; other files are additions
const EITHER = new Set(["image", "video"]);
const EXAMPLES = new Set(["digital-human", "matting", "restore", "speech", "video"]);

export function Studio() {
  const [search] = useSearchParams();
  const models = useModels();
  const name = search.get("model");
  const from = search.get("from");
  if (models.data === undefined) return <Loading query={models} />;
  const model = models.data.find((each) => each.name === name);
  if (model) return <Workbench key={`${model.name} ${from}`} model={model} jobId={search.get("job")} from={from} />;
  return <Choice models={models.data} missing={name} />;
}

function Choice({ models: all, missing }: { models: Model[]; missing: string | null }) {
  const { t } = useTranslation();
  const models = all.filter((model) => !TOOLS.has(model.name));
  const [main, others] = [models.filter((model) => EXAMPLES.has(model.name)), models.filter((model) => !EXAMPLES.has(model.name))];
  return (
    <Stack>
      <div><Title order={1} size="h2">{t("studio.title")}</Title><Text c="dimmed">{t("studio.lead")}</Text></div>
      {missing && <Alert color="orange">{t("studio.noModel", { name: missing })}</Alert>}
      {models.length === 0 && <Alert>{t("studio.noModels")}</Alert>}
      <SimpleGrid cols={{ base: 1, xs: 2, md: 3 }}>{main.map((model) => <ModelCard key={model.name} model={model} />)}</SimpleGrid>
      {others.length > 0 && main.length > 0 && <Title order={2} size="h4" mt="md">{t("studio.more")}</Title>}
      <SimpleGrid cols={{ base: 1, xs: 2, md: 4 }}>{others.map((model) => <ModelCard key={model.name} model={model} />)}</SimpleGrid>
    </Stack>
  );
}

function ModelCard({ model }: { model: Model }) {
  const { t } = useTranslation();
  const [, navigate] = useLocation();
  const problem = model.live?.problem;
  return (
    <UnstyledButton onClick={() => navigate(`/?model=${encodeURIComponent(model.name)}`)}>
      <Card withBorder h="100%" padding="md" className="model-card">
        {EXAMPLES.has(model.name) && <Card.Section><Image src={`/assets/examples/${model.name}.jpg`} alt="" h={150} fit="cover" /></Card.Section>}
        <Group justify="space-between" mt={EXAMPLES.has(model.name) ? "sm" : 0} wrap="nowrap">
          <Text fw={600}>{titleOf(t, model)}</Text>
          {problem ? <Badge color="red" variant="light" tt="none">{t("models.failing")}</Badge> : model.live && model.live.workers.ready + model.live.workers.busy > 0 && <Badge color="teal" variant="light" tt="none">{t("models.ready")}</Badge>}
        </Group>
        <Text size="sm" c="dimmed" lineClamp={3}>{descriptionOf(t, model)}</Text>
      </Card>
    </UnstyledButton>
  );
}

/** from: an earlier job whose inputs, files included, are where this one begins. */
function Workbench({ model, jobId, from }: { model: Model; jobId: string | null; from: string | null }) {
  const { t } = useTranslation();
  const [, navigate] = useLocation();
  const fields = useMemo(() => fieldsOf(model), [model]);
  const [inputs, setInputs] = useState<Inputs>(() => (fields.some((field) => field.name === "word_times") ? { word_times: true } : {}));
  const [files, setFiles] = useState<Record<string, File[]>>({});
  const [upload, setUpload] = useState<number | null>(null);
  const [error, setError] = useState<unknown>(null);
  const key = useRef(newKey());
  const job = useJob(jobId);
  const touched = useRef(false); // by hand: then a job in the address does not fill the form
  const earlier = useJob(from ?? jobId).data;
  useEffect(() => {
    if (earlier && !earlier.steps && (from !== null || !touched.current)) setInputs(Object.fromEntries(Object.entries(earlier.inputs as Inputs).filter(([, value]) => value !== null)));
  }, [earlier?.id]);
  const missing = fields.filter((field) => field.required && !files[field.name]?.length && inputs[field.name] === undefined && (field.kind === "file" || field.initial === undefined));
  const label = (field: { name: string }) => t(`field.${field.name}`, { defaultValue: words(field.name) });
  const main = fields.filter((field) => field.kind === "file" && MAIN.has(field.name));
  const nothing = main.length > 0 && !main.some((field) => field.required) && !fields.some((field) => files[field.name]?.length || typeof inputs[field.name] === "string");
  // A picture or a film: the schema requires neither, the model one of them.
  const either = main.filter((field) => EITHER.has(field.name) && !field.required);
  const bare = either.length === EITHER.size && !either.some((field) => files[field.name]?.length || inputs[field.name] !== undefined);
  const needed = bare ? [either.map(label).join(t("studio.or")), ...missing.map(label)] : nothing ? [main.map(label).join(t("studio.or"))] : missing.map(label);
  const problems = useMemo(() => problemsOf(error), [error]);
  const changed = () => { setError(null); key.current = newKey(); touched.current = true; };
  const begin = async () => {
    changed();
    try {
      const example = await exampleOf(model, fields, { prompt: t("example.prompt"), consent: t("example.consent") });
      setFiles(example.files);
      setInputs((now) => ({ ...now, ...example.inputs }));
    } catch (raised) {
      setError(raised);
    }
  };
  const untouched = jobId === null && from === null && Object.values(files).every((given) => given.length === 0);
  const send = async () => {
    setError(null);
    setUpload(0);
    try {
      const accepted = await submit(model.name, inputs, files, key.current, setUpload);
      navigate(`/?model=${encodeURIComponent(model.name)}&job=${accepted.id}`);
      key.current = newKey();
    } catch (raised) {
      setError(raised);
    } finally {
      setUpload(null);
    }
  };
  const busy = upload !== null || (jobId !== null && job.data !== undefined && !isOver(job.data));
  return (
    <Stack>
      <Group justify="space-between">
        <Group gap="sm">
          <Button variant="subtle" color="gray" leftSection={<IconArrowLeft size={16} />} onClick={() => navigate("/")}>{t("studio.back")}</Button>
          <Title order={1} size="h3">{titleOf(t, model)}</Title>
        </Group>
        {jobId !== null && <Button variant="default" leftSection={<IconPlus size={16} />} onClick={() => { changed(); navigate(`/?model=${encodeURIComponent(model.name)}`); }}>{t("studio.another")}</Button>}
      </Group>
      <Text c="dimmed">{descriptionOf(t, model)}</Text>
      <Grid gap="xl">
        <Grid.Col span={{ base: 12, md: 5 }} order={{ base: jobId === null ? 1 : 2, md: 1 }}>
          <form onSubmit={(event) => { event.preventDefault(); if (!busy && needed.length === 0) void send(); }} noValidate>
            <Stack>
              {untouched && hasExample(model, fields) && <Button variant="light" size="xs" w="fit-content" leftSection={<IconSparkles size={16} />} onClick={() => void begin()}>{t("example.fill")}</Button>}
              <Form model={model.name} fields={fields} inputs={inputs} files={files} problems={problems} disabled={busy} onInput={(name, value) => { changed(); setInputs((now) => ({ ...now, [name]: value })); }} onFiles={(name, given) => { changed(); setFiles((now) => ({ ...now, [name]: given })); }} />
              {error !== null && <Failed error={error} />}
              {!busy && <Forecast model={model} inputs={inputs} files={files} complete={needed.length === 0} />}
              {upload !== null && <Progress value={upload * 100} aria-label={t("studio.uploading")} animated />}
              <Button type="submit" size="md" h="auto" mih={42} py={8} styles={{ label: { whiteSpace: "normal", lineHeight: 1.3 } }} leftSection={<IconPlayerPlay size={18} />} disabled={busy || needed.length > 0} loading={upload !== null}>
                {needed.length > 0 ? t("studio.missing", { what: needed.join(t("studio.comma")) }) : t("studio.submit")}
              </Button>
            </Stack>
          </form>
        </Grid.Col>
        <Grid.Col span={{ base: 12, md: 7 }} order={{ base: jobId === null ? 2 : 1, md: 2 }}>
          <Output model={model} jobId={jobId} job={job} files={files} />
        </Grid.Col>
      </Grid>
    </Stack>
  );
}

/** What is known before anything is sent: when it would be ready and what it takes; else what is usual. */
function Forecast({ model, inputs, files, complete }: { model: Model; inputs: Inputs; files: Record<string, File[]>; complete: boolean }) {
  const { t } = useTranslation();
  const asked = useEstimate(model, inputs, files, 1, complete);
  const found = asked.data;
  const wrong = complete && asked.error instanceof Problem && asked.error.status === 422 ? saidFault(asked.error.code, asked.error.message) : null;
  const live = model.live;
  if (!live) return null;
  const ready = live.workers.ready + live.workers.busy;
  const run_s = model.measured?.run_s;
  const told = complete && found ? found : null;
  return (
    <Stack gap={2} aria-live="polite">
      {told && (
        <Group gap={6} data-testid="estimate">
          <IconClock size={16} aria-hidden />
          <Text size="sm" fw={600}>{told.eta_s == null ? t("estimate.nobody") : t("estimate.ready", { left: duration(told.eta_s) })}</Text>
          {told.eta_range_s && <Text size="xs" c="dimmed">{t("estimate.range", { from: duration(told.eta_range_s[0] ?? 0), to: duration(told.eta_range_s[1] ?? 0) })}</Text>}
          <Text size="xs" c="dimmed">{t("estimate.takes", { seconds: told.predicted_s.toFixed(1) })}</Text>
        </Group>
      )}
      {wrong && <div><Told said={wrong} /></div>}
      <Text size="xs" c="dimmed">
        {ready > 0 ? t("studio.isReady") : t("studio.startsFirst")}
        {live.queued > 0 && ` ${t("studio.queue", { count: live.queued, work: duration(live.predicted_s) })}`}
        {!told && run_s != null && ` ${t("studio.usually", { run: duration(run_s) })}`}
      </Text>
    </Stack>
  );
}

function Output({ model, jobId, job, files }: { model: Model; jobId: string | null; job: ReturnType<typeof useJob>; files: Record<string, File[]> }) {
  const given = Object.values(files).flat();
  const compared = model.name !== "digital-human" && model.name !== "video";
  const kept = useKept(given.length === 0 && job.data?.status === "completed" ? sentFile(model, job.data.inputs as Inputs) : null);
  const ours = (kinds: string[]) => (kept && kinds.some((kind) => kept.type.startsWith(kind)) ? kept.url : null);
  const before = useObjectUrl(compared ? (given.find((file) => file.type.startsWith("image/")) ?? null) : null) ?? (compared ? ours(["image/"]) : null);
  const sound = useObjectUrl(given.find((file) => file.type.startsWith("audio/") || file.type.startsWith("video/")) ?? null) ?? ours(["audio/", "video/"]);
  if (jobId === null) return <Beginning model={model} />;
  if (job.data === undefined) return <Loading query={job} />;
  return (
    <Stack>
      <Heard job={job.data} />
      {job.data.status !== "completed" && <JobProgress job={job.data} />}
      {job.data.status === "completed" && <Results job={job.data} model={model} before={before} sound={sound} />}
      <Group gap="md"><Text size="xs" c="dimmed">{job.data.id}</Text><Raw job={job.data} /></Group>
    </Stack>
  );
}

/** Before there is a result: what one looks like. */
function Beginning({ model }: { model: Model }) {
  const { t } = useTranslation();
  return (
    <Paper withBorder p="xl" bg="var(--mantine-color-default-hover)">
      <Text c="dimmed" ta="center">{t("studio.empty")}</Text>
      {EXAMPLES.has(model.name) && <Image src={`/assets/examples/${model.name}.jpg`} alt="" mt="md" mah={240} fit="contain" radius="md" />}
    </Paper>
  );
}

/** The picture or the recording that the job was made of, by its id. */
function sentFile(model: Model, inputs: Inputs): string | null {
  const ids = model.input_files.filter((field) => MAIN.has(field.name)).map((field) => inputs[field.name]);
  return ids.find((id): id is string => typeof id === "string" && id.startsWith("blob_")) ?? null;
}

function problemsOf(error: unknown): Record<string, string> {
  if (!(error instanceof Problem)) return {};
  return Object.fromEntries(error.errors.map((each) => [each.loc.split(".").at(-1)?.replace(/\[\d+\]$/, "") ?? each.loc, fieldSaid(each)]));
}
