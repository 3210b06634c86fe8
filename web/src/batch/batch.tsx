// Many files, one setting: a row for each, what failed again, everything as one archive.
import { ActionIcon, Alert, Button, Group, Loader, Progress, Select, Stack, Table, Text, Title } from "@mantine/core";
import { Dropzone } from "@mantine/dropzone";
import { IconDownload, IconPlayerPlay, IconRefresh, IconX } from "@tabler/icons-react";
import { useEffect, useMemo, useReducer, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import type { Job, Model } from "../api/client";
import { isOver, useJob, useModels } from "../api/jobs";
import { fieldsOf } from "../api/schema-fields";
import { type Inputs, newKey, submit } from "../api/submit";
import { Failed } from "../parts/failed";
import { bytes } from "../parts/format";
import { fits } from "../studio/files";
import { Form } from "../studio/form";
import { Status } from "../studio/progress";
import { filesOf, here } from "../studio/results";
import { zip } from "./zip";

type Item = { key: string; file: File; job: string | null; done: Job | null; upload: number | null; error: string | null };
type Change = { add: File[] } | { key: string; set: Partial<Item> } | { remove: string } | { clear: true };

const AT_ONCE = 3; // uploads; the server queues the rest

function reduce(items: Item[], change: Change): Item[] {
  if ("add" in change) return [...items, ...change.add.map((file) => ({ key: newKey(), file, job: null, done: null, upload: null, error: null }))];
  if ("set" in change) return items.map((item) => (item.key === change.key ? { ...item, ...change.set } : item));
  if ("remove" in change) return items.filter((item) => item.key !== change.remove);
  return [];
}

export function Batch() {
  const { t } = useTranslation();
  const models = useModels();
  const [name, setName] = useState<string | null>("matting");
  if (models.isPending) return <Loader mx="auto" my="xl" />;
  if (models.isError) return <Failed error={models.error} retry={() => void models.refetch()} />;
  const takers = models.data.filter((model) => model.input_files.length > 0);
  const model = takers.find((each) => each.name === name) ?? takers[0];
  if (!model) return <Alert>{t("studio.noModels")}</Alert>;
  return (
    <Stack>
      <div><Title order={1} size="h2">{t("nav.batch")}</Title><Text c="dimmed">{t("batch.lead")}</Text></div>
      <Select label={t("history.model")} w={260} allowDeselect={false} value={model.name} onChange={setName} data={takers.map((each) => ({ value: each.name, label: t(`model.${each.name}.title`, { defaultValue: each.title }) }))} />
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
  const running = useRef(false);
  const missing = options.some((field) => field.required && (field.kind === "file" ? !files[field.name]?.length : inputs[field.name] === undefined && field.initial === undefined));
  const send = async (wanted: Item[]) => {
    if (running.current) return;
    running.current = true;
    const waiting = [...wanted];
    const worker = async () => {
      for (let item = waiting.shift(); item; item = waiting.shift()) {
        const { key, file } = item;
        change({ key, set: { upload: 0, error: null, job: null, done: null } });
        try {
          const accepted = await submit(model.name, inputs, { ...files, [target.name]: [file] }, newKey(), (upload) => change({ key, set: { upload } }));
          change({ key, set: { upload: null, job: accepted.id } });
        } catch (error) {
          change({ key, set: { upload: null, error: (error as Error).message } });
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    running.current = false;
  };
  const completed = items.filter((item) => item.done?.status === "completed");
  const failed = items.filter((item) => item.error !== null || (item.done !== null && item.done.status !== "completed"));
  const fresh = items.filter((item) => item.job === null && item.error === null && item.upload === null);
  const pack = async () => {
    setPacking(0);
    setFailure(null);
    try {
      await zip(completed.flatMap((item) => filesOf((item.done!.outputs ?? {}) as Record<string, unknown>).map(([output, file]) => ({ name: `${stem(item.file.name)}-${output}`, kind: file.media_type, url: here(file.url) }))), `springtide-${model.name}.zip`, setPacking);
    } catch (error) {
      setFailure(error);
    } finally {
      setPacking(null);
    }
  };
  return (
    <Stack>
      <Form fields={options} inputs={inputs} files={files} problems={{}} disabled={false} onInput={(field, value) => setInputs((now) => ({ ...now, [field]: value }))} onFiles={(field, given) => setFiles((now) => ({ ...now, [field]: given }))} />
      <Dropzone onDrop={(given) => change({ add: given.filter((file) => target.accept.some((kind) => fits(file.type, kind))) })} accept={Object.fromEntries(target.accept.map((kind) => [kind, []]))} multiple p="lg" inputProps={{ "aria-label": t("batch.drop") }}>
        <Text ta="center" size="sm" style={{ pointerEvents: "none" }}>{t("batch.drop")}</Text>
      </Dropzone>
      {items.length > 0 && (
        <Group>
          <Button leftSection={<IconPlayerPlay size={16} />} disabled={fresh.length === 0 || missing} onClick={() => void send(fresh)}>{t("batch.start", { count: fresh.length })}</Button>
          <Button variant="default" leftSection={<IconRefresh size={16} />} disabled={failed.length === 0} onClick={() => void send(failed)}>{t("batch.retry", { count: failed.length })}</Button>
          <Button variant="default" leftSection={<IconDownload size={16} />} disabled={completed.length === 0} loading={packing !== null} onClick={() => void pack()}>{t("batch.zip", { count: completed.length })}</Button>
          <Text size="sm" c="dimmed" role="status">{t("batch.done", { done: completed.length, all: items.length })}</Text>
        </Group>
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

function Line({ item, change }: { item: Item; change: (change: Change) => void }) {
  const { t } = useTranslation();
  const job = useJob(item.done ? null : item.job);
  const current = item.done ?? job.data ?? null;
  const ended = job.data && isOver(job.data) ? job.data : null;
  useEffect(() => {
    if (ended) change({ key: item.key, set: { done: ended } });
  }, [ended, change, item.key]);
  const share = item.upload !== null ? item.upload * 100 : current?.status === "completed" ? 100 : (current?.progress ?? 0) * 100;
  return (
    <Table.Tr>
      <Table.Td><Text size="sm" truncate maw={320}>{item.file.name}</Text><Text size="xs" c="dimmed">{bytes(item.file.size)}</Text></Table.Td>
      <Table.Td w={140}>{item.error ? <Text size="xs" c="red">{item.error}</Text> : item.upload !== null ? <Text size="sm">{t("studio.uploading")}</Text> : current ? <Status status={current.status} /> : <Text size="sm" c="dimmed">{t("batch.ready")}</Text>}</Table.Td>
      <Table.Td w={200}><Progress value={share} aria-label={item.file.name} /></Table.Td>
      <Table.Td w={48}><ActionIcon variant="subtle" color="gray" aria-label={t("studio.remove", { name: item.file.name })} onClick={() => change({ remove: item.key })}><IconX size={16} /></ActionIcon></Table.Td>
    </Table.Tr>
  );
}

const stem = (name: string) => name.replace(/\.[^.]+$/, "");
