// Every job, newest first: filters, thumbnails, run again, cancel, copy as a call.
import { ActionIcon, Anchor, Button, Group, Image, Menu, Modal, Paper, Select, Stack, Table, Text, Title } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { notifications } from "@mantine/notifications";
import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { IconBox, IconDots, IconFileText, IconMovie } from "@tabler/icons-react";
import { useEffect } from "react";
import { useTranslation } from "react-i18next";
import { Link, useLocation, useSearchParams } from "wouter";
import { api, apiKey, ask, type Job, type Schemas } from "../api/client";
import { isOver, placeOf, SIMULATOR, useCancel, useModels } from "../api/jobs";
import { ENDS, live } from "../api/live";
import { tellFailure } from "../parts/failed";
import { duration, when } from "../parts/format";
import { Loading } from "../parts/loading";
import { saidFault } from "../parts/said";
import { curlOf, pythonOf } from "../parts/snippets";
import { titleOf, useTitles } from "../parts/title";
import { Status } from "../studio/progress";
import { filesOf, linkTo } from "../studio/results";

const STATES = ["queued", "in_progress", "completed", "failed", "cancelled", "expired"] as const;

export function History() {
  const { t } = useTranslation();
  const client = useQueryClient();
  const models = useModels();
  const title = useTitles();
  const [search, setSearch] = useSearchParams();
  const [model, status] = [search.get("model"), search.get("status")];
  const choose = (name: string, value: string | null) => setSearch((now) => { if (value) now.set(name, value); else now.delete(name); return now; }, { replace: true });
  const jobs = useInfiniteQuery({
    queryKey: ["jobs", model, status],
    initialPageParam: null as string | null,
    queryFn: ({ pageParam }) =>
      ask(api.GET("/v1/jobs", { params: { query: { limit: 25, ...(pageParam ? { after: pageParam } : {}), ...(model ? { model } : {}), ...(status ? { status: [status as Schemas["JobStatus"]] } : {}) } } })),
    getNextPageParam: (page) => (page.has_more ? page.next_after : null),
  });
  useEffect(() => {
    // What begins or ends anywhere is shown here; progress alone changes no row.
    let timer: number | undefined;
    const look = (wait: number) => {
      window.clearTimeout(timer);
      timer = window.setTimeout(() => void client.invalidateQueries({ queryKey: ["jobs"] }), wait);
    };
    const stop = live.followAll((event) => {
      if (event.kind !== "progress" && event.kind !== "waiting") look(ENDS.has(event.kind) ? 50 : 300);
    });
    // What began and ended while no socket was there is told by none.
    const unwatch = live.watch(() => { if (live.connected) look(300); });
    return () => { window.clearTimeout(timer); unwatch(); stop(); };
  }, [client]);
  const rows = jobs.data?.pages.flatMap((page) => page.data) ?? [];
  return (
    <Stack>
      <Title order={1} size="h2">{t("nav.history")}</Title>
      <Group>
        <Select label={t("history.model")} data={(models.data ?? []).map((each) => ({ value: each.name, label: titleOf(t, each) }))} value={model} onChange={(value) => choose("model", value)} clearable searchable placeholder={t("history.all")} w={200} />
        <Select label={t("history.status")} data={STATES.map((value) => ({ value, label: t(`status.${value}`) }))} value={status} onChange={(value) => choose("status", value)} clearable placeholder={t("history.all")} w={180} />
      </Group>
      {jobs.data === undefined && <Loading query={jobs} />}
      {jobs.isSuccess && rows.length === 0 && (
        <Paper withBorder p="xl"><Text ta="center" c="dimmed">{t(model || status ? "history.noneSuch" : "history.none")} <Anchor component={Link} href="/" underline="always">{t("history.begin")}</Anchor></Text></Paper>
      )}
      {rows.length > 0 && (
        <Table.ScrollContainer className="cards" type="native" minWidth={640}>
          <Table verticalSpacing="xs" highlightOnHover>
            <Table.Thead><Table.Tr><Table.Th w={64} aria-label={t("history.picture")} /><Table.Th>{t("history.model")}</Table.Th><Table.Th>{t("history.status")}</Table.Th><Table.Th>{t("history.created")}</Table.Th><Table.Th>{t("history.took")}</Table.Th><Table.Th w={48} aria-label={t("history.actions")} /></Table.Tr></Table.Thead>
            <Table.Tbody>{rows.map((job) => <Row key={job.id} job={job} title={title(job.model)} />)}</Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      )}
      {jobs.hasNextPage && <Button variant="default" w="fit-content" mx="auto" loading={jobs.isFetchingNextPage} onClick={() => void jobs.fetchNextPage()}>{t("history.more")}</Button>}
    </Stack>
  );
}

function Row({ job, title }: { job: Job; title: string }) {
  const { t } = useTranslation();
  const files = filesOf((job.outputs ?? {}) as Record<string, unknown>).map(([, file]) => file);
  const picture = files.find((file) => file.media_type.startsWith("image/"));
  const Kind = files.some((file) => file.media_type.startsWith("video/")) ? IconMovie : files.length ? IconFileText : IconBox;
  return (
    <Table.Tr>
      <Table.Td {...(picture ? {} : { className: "bare" })}>{picture ? <Image className="checkerboard" src={linkTo(picture)} alt="" h={44} w={44} fit="cover" radius="sm" loading="lazy" /> : <Kind size={22} opacity={0.4} aria-hidden />}</Table.Td>
      <Table.Td><Anchor component={Link} href={placeOf(job.model, job.id)} size="sm">{title}</Anchor><Text size="xs" c="dimmed">{job.id}</Text></Table.Td>
      <Table.Td data-label={t("history.status")}><Status status={job.status} />{job.error && <Text size="xs" c="dimmed" lineClamp={2} maw={320} title={job.error.message}>{saidFault(job.error.code, job.error.message).text}</Text>}</Table.Td>
      <Table.Td data-label={t("history.created")}><Text size="sm">{when(job.created_at_s)}</Text></Table.Td>
      <Table.Td data-label={t("history.took")}><Text size="sm">{job.started_at_s != null && job.finished_at_s != null ? duration(job.finished_at_s - job.started_at_s) : "–"}</Text></Table.Td>
      <Table.Td className="corner"><Actions job={job} /></Table.Td>
    </Table.Tr>
  );
}

function Actions({ job }: { job: Job }) {
  const { t } = useTranslation();
  const [, navigate] = useLocation();
  const client = useQueryClient();
  const cancel = useCancel();
  const again = useMutation({
    mutationFn: () => ask(api.POST("/v1/jobs/{job_id}/retry", { params: { path: { job_id: job.id } } })),
    onSuccess: (made) => { void client.invalidateQueries({ queryKey: ["jobs"] }); navigate(placeOf(job.model, made.id)); },
    onError: tellFailure,
  });
  const [asked, asking] = useDisclosure(false);
  const remove = useMutation({
    mutationFn: () => ask(api.DELETE("/v1/jobs/{job_id}", { params: { path: { job_id: job.id } } })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["jobs"] }),
    onError: tellFailure,
    onSettled: asking.close,
  });
  const copy = (text: string) => void navigator.clipboard.writeText(text).then(() => notifications.show({ message: t("copy.done") }));
  const inputs = job.inputs as Record<string, unknown>;
  const isFile = (value: unknown) => typeof value === "string" && value.startsWith("blob_");
  const plain = Object.fromEntries(Object.entries(inputs).filter(([, value]) => !isFile(value) && value !== null));
  const files = Object.fromEntries(Object.keys(inputs).filter((name) => isFile(inputs[name])).map((name) => [name, "FILE"]));
  return (
    <Menu position="bottom-end">
      <Menu.Target><ActionIcon variant="subtle" color="gray" aria-label={t("history.actionsOf", { id: job.id })}><IconDots size={18} /></ActionIcon></Menu.Target>
      <Menu.Dropdown>
        {!isOver(job) && <Menu.Item onClick={() => cancel.mutate(job.id, { onError: tellFailure })}>{t("job.cancel")}</Menu.Item>}
        {isOver(job) && job.status !== "completed" && <Menu.Item onClick={() => again.mutate()}>{t("history.again")}</Menu.Item>}
        {!job.steps && job.model !== SIMULATOR && <Menu.Item onClick={() => navigate(`/?model=${encodeURIComponent(job.model)}&from=${job.id}`)}>{t("history.changed")}</Menu.Item>}
        {!job.steps && <Menu.Item onClick={() => copy(curlOf(job.model, plain, files))}>{t("copy.as", { label: "curl" })}</Menu.Item>}
        {!job.steps && <Menu.Item onClick={() => copy(pythonOf(job.model, plain, files))}>{t("copy.as", { label: "Python" })}</Menu.Item>}
        {apiKey.get() === null && <Menu.Item component="a" href={`/v1/jobs/${job.id}`}>{t("job.json")}</Menu.Item>}
        {isOver(job) && <Menu.Item color="red" onClick={asking.open}>{t("history.delete")}</Menu.Item>}
      </Menu.Dropdown>
      <Modal opened={asked} onClose={asking.close} title={t("history.delete")}>
        <Text size="sm">{t("history.deleteAsk")}</Text>
        <Group justify="end" mt="md">
          <Button variant="default" onClick={asking.close}>{t("history.keep")}</Button>
          <Button color="red" loading={remove.isPending} onClick={() => remove.mutate()}>{t("history.delete")}</Button>
        </Group>
      </Modal>
    </Menu>
  );
}
