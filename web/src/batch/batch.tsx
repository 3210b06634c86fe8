// Many files, one setting: a row for each, what failed again, everything as one archive.
import { ActionIcon, Alert, Button, FileButton, Group, Progress, Select, Stack, Table, Text, Title } from "@mantine/core";
import { Dropzone } from "@mantine/dropzone";
import { IconDownload, IconFolder, IconPlayerPlay, IconRefresh, IconX } from "@tabler/icons-react";
import { memo, useEffect, useMemo, useReducer, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import type { Job, Model } from "../api/client";
import { useEstimate } from "../api/estimate";
import { isOver, useJob, useModels } from "../api/jobs";
import { fieldsOf } from "../api/schema-fields";
import { type Inputs, newKey, submit } from "../api/submit";
import { Failed, saidShortly } from "../parts/failed";
import { bytes, duration } from "../parts/format";
import { Loading } from "../parts/loading";
import { titleOf } from "../parts/title";
import { Form } from "../studio/form";
import { Status } from "../studio/progress";
import { filesOf, here } from "../studio/results";
import { TOOLS } from "../studio/studio";
import { type Given, sorted } from "./given";
import { zip } from "./zip";

type Item = { key: string; given: Given; job: string | null; done: Job | null; upload: number | null; error: string | null };
type Change = { add: Given[] } | { key: string; set: Partial<Item> } | { remove: string } | { clear: true };

const SAMPLES = 4; // files, of which the first that can be read is thought to be like the others
const AT_ONCE = 3; // uploads; the server queues the rest

function reduce(items: Item[], change: Change): Item[] {
  if ("add" in change) return [...items, ...change.add.map((given) => ({ key: newKey(), given, job: null, done: null, upload: null, error: null }))];
  if ("set" in change) return items.map((item) => (item.key === change.key ? { ...item, ...change.set } : item));
  if ("remove" in change) return items.filter((item) => item.key !== change.remove);
  return [];
}

export function Batch() {
  const { t } = useTranslation();
  const models = useModels();
  const [name, setName] = useState<string | null>("matting");
  if (models.data === undefined) return <Loading query={models} />;
  const takers = models.data.filter((model) => model.input_files.length > 0 && !TOOLS.has(model.name));
  const model = takers.find((each) => each.name === name) ?? takers[0];
  if (!model) return <Alert>{t("studio.noModels")}</Alert>;
  return (
    <Stack>
      <div><Title order={1} size="h2">{t("nav.batch")}</Title><Text c="dimmed">{t("batch.lead")}</Text></div>
      <Select label={t("history.model")} w={260} allowDeselect={false} value={model.name} onChange={setName} data={takers.map((each) => ({ value: each.name, label: titleOf(t, each) }))} />
      <Bench key={model.name} model={model} />
    </Stack>
  );
}

function Bench({ model }: { model: Model }) {
  const { t } = useTranslation();
  const fields = useMemo(() => fieldsOf(model), [model]);
  const target = fields.find((field) => field.kind === "file" && field.required) ?? fields.find((field) => field.kind === "file")!;
  const options = fields.filter((field) => field.name !== target.name && !(field.kind === "file" && !field.required));
  const [inputs, setInputs] = useState<Inputs>({});
  const [files, setFiles] = useState<Record<string, File[]>>({});
  const [items, change] = useReducer(reduce, []);
  const [packing, setPacking] = useState<number | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const [left, setLeft] = useState<string[]>([]);
  const add = (files: File[]) => void sorted(files, target).then(({ given, others }) => { setLeft(others); change({ add: given }); });
  const running = useRef(false);
  const missing = options.some((field) => field.required && (field.kind === "file" ? !files[field.name]?.length : inputs[field.name] === undefined && field.initial === undefined));
  const send = async (wanted: Item[]) => {
    if (running.current) return;
    running.current = true;
    const waiting = [...wanted];
    const worker = async () => {
      for (let item = waiting.shift(); item; item = waiting.shift()) {
        const { key, given } = item;
        change({ key, set: { upload: 0, error: null, job: null, done: null } });
        try {
          const accepted = await submit(model.name, given.url ? { ...inputs, [target.name]: given.url } : inputs, given.file ? { ...files, [target.name]: [given.file] } : files, newKey(), (upload) => change({ key, set: { upload } }));
          change({ key, set: { upload: null, job: accepted.id } });
        } catch (error) {
          change({ key, set: { upload: null, error: saidShortly(error) } });
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    running.current = false;
  };
  const completed = items.filter((item) => item.done?.status === "completed");
  const failed = items.filter((item) => item.error !== null || (item.done !== null && item.done.status !== "completed"));
  const fresh = items.filter((item) => item.job === null && item.error === null && item.upload === null);
  const samples = fresh.flatMap((item) => item.given.file ?? []).slice(0, SAMPLES);
  const estimate = useEstimate(model, inputs, { ...files, [target.name]: samples }, Math.max(1, fresh.length), samples.length > 0 && !missing).data;
  const pack = async () => {
    setPacking(0);
    setFailure(null);
    try {
      await zip(completed.flatMap((item) => filesOf((item.done!.outputs ?? {}) as Record<string, unknown>).map(([output, file]) => ({ name: `${stem(item.given.name)}-${output}`, kind: file.media_type, url: here(file.url) }))), `springtide-${model.name}.zip`, setPacking);
    } catch (error) {
      setFailure(error);
    } finally {
      setPacking(null);
    }
  };
  return (
    <Stack>
      <Form model={model.name} fields={options} inputs={inputs} files={files} problems={{}} disabled={false} onInput={(field, value) => setInputs((now) => ({ ...now, [field]: value }))} onFiles={(field, given) => setFiles((now) => ({ ...now, [field]: given }))} />
      <Dropzone onDrop={add} multiple p="lg" inputProps={{ "aria-label": t("batch.drop") }}>
        <Text ta="center" size="sm" style={{ pointerEvents: "none" }}>{t("batch.drop")}</Text>
        <Text ta="center" size="xs" c="dimmed" style={{ pointerEvents: "none" }}>{t("batch.list")}</Text>
      </Dropzone>
      <FileButton multiple onChange={add} inputProps={{ webkitdirectory: "", "aria-label": t("batch.folder") } as never}>
        {(props) => <Button {...props} variant="default" size="xs" w="fit-content" leftSection={<IconFolder size={16} />}>{t("batch.folder")}</Button>}
      </FileButton>
      {left.length > 0 && <Alert color="orange" withCloseButton closeButtonLabel={t("batch.hide")} onClose={() => setLeft([])}>{t("batch.left", { count: left.length, names: left.slice(0, 5).join(", ") })}</Alert>}
      {items.length === 0 && <Text size="sm" c="dimmed">{t("batch.empty")}</Text>}
      {items.length > 0 && (
        <Group>
          <Button leftSection={<IconPlayerPlay size={16} />} disabled={fresh.length === 0 || missing} onClick={() => void send(fresh)}>{t("batch.start", { count: fresh.length })}</Button>
          <Button variant="default" leftSection={<IconRefresh size={16} />} disabled={failed.length === 0} onClick={() => void send(failed)}>{t("batch.retry", { count: failed.length })}</Button>
          <Button variant="default" leftSection={<IconDownload size={16} />} disabled={completed.length === 0} loading={packing !== null} onClick={() => void pack()}>{t("batch.zip", { count: completed.length })}</Button>
          <Text size="sm" c="dimmed" role="status">{t("batch.done", { done: completed.length, all: items.length })}</Text>
        </Group>
      )}
      {fresh.length > 0 && estimate && (
        <Text size="sm" c="dimmed" data-testid="estimate">
          {t("estimate.batch", { count: fresh.length, each: estimate.predicted_s.toFixed(1), all: duration(estimate.predicted_s * fresh.length) })}{" "}
          {estimate.eta_s == null ? t("estimate.nobody") : t("estimate.batchReady", { left: duration(estimate.eta_s) })}
        </Text>
      )}
      {failure !== null && <Failed error={failure} />}
      {items.length > 0 && <Progress value={(completed.length / items.length) * 100} aria-label={t("batch.progress")} />}
      {items.length > 0 && (
        <Table.ScrollContainer minWidth={480}>
          <Table>
            <Table.Tbody>{items.map((item) => <Line key={item.key} item={item} change={change} />)}</Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      )}
    </Stack>
  );
}

const LOOK_MS = 60_000; // a row shows no ETA: live events tell the rest, two hundred rows at once

const Line = memo(function Line({ item, change }: { item: Item; change: (change: Change) => void }) {
  const { t } = useTranslation();
  const job = useJob(item.done ? null : item.job, LOOK_MS);
  const current = item.done ?? job.data ?? null;
  const ended = job.data && isOver(job.data) ? job.data : null;
  useEffect(() => {
    if (ended) change({ key: item.key, set: { done: ended } });
  }, [ended, change, item.key]);
  const share = item.upload !== null ? item.upload * 100 : current?.status === "completed" ? 100 : (current?.progress ?? 0) * 100;
  // What moves is one bar; the cells beside it are drawn again only when they change.
  const name = useMemo(() => <Table.Td><Text size="sm" truncate maw={320} title={item.given.name}>{item.given.name}</Text><Text size="xs" c="dimmed">{item.given.file ? bytes(item.given.file.size) : item.given.url}</Text></Table.Td>, [item.given]);
  const state = useMemo(() => <Table.Td w={140}>{item.error ? <Text size="xs" c="red">{item.error}</Text> : item.upload !== null ? <Text size="sm">{t("studio.uploading")}</Text> : current ? <Status status={current.status} /> : <Text size="sm" c="dimmed">{t("batch.ready")}</Text>}</Table.Td>, [item.error, item.upload !== null, current?.status, t]);
  const remove = useMemo(() => <Table.Td w={48}><ActionIcon variant="subtle" color="gray" aria-label={t("studio.remove", { name: item.given.name })} onClick={() => change({ remove: item.key })}><IconX size={16} /></ActionIcon></Table.Td>, [item.given, item.key, change, t]);
  return (
    <tr className="batch-row">
      {name}
      {state}
      <td><div className="bar" role="progressbar" aria-label={item.given.name} aria-valuemin={0} aria-valuemax={100} aria-valuenow={share}><div style={{ width: `${share}%` }} /></div></td>
      {remove}
    </tr>
  );
});

const stem = (name: string) => name.replace(/\.[^.]+$/, "");
