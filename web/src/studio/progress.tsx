// A job on its way: what it does, how far it is, when it will be ready, and why it waits.
import { Alert, Badge, Button, Code, Group, Progress, Stack, Text, Tooltip, VisuallyHidden } from "@mantine/core";
import { IconAlertTriangle, IconClock } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { api, ask, type Job } from "../api/client";
import { isOver, useCancel } from "../api/jobs";
import { duration } from "../parts/format";
import { helps, type Said, saidReason } from "../parts/said";
import { Told } from "../parts/told";
import { Explain } from "./explain";

const COLOURS: Record<string, string> = { queued: "gray", in_progress: "cyan", completed: "teal", failed: "red", cancelling: "orange", cancelled: "gray", expired: "orange" };

export function Status({ status }: { status: string }) {
  const { t } = useTranslation();
  return <Badge variant="light" color={COLOURS[status] ?? "gray"} tt="none" miw="max-content">{t(`status.${status}`, { defaultValue: status })}</Badge>;
}

export function JobProgress({ job }: { job: Job }) {
  const { t } = useTranslation();
  const cancel = useCancel();
  const left_s = useTimeLeft(job);
  if (job.status === "failed" || job.status === "expired") return <Failure job={job} />;
  const share = (job.progress ?? 0) * 100;
  return (
    <Stack gap="xs">
      <Group justify="space-between">
        <Group gap="xs">
          <Status status={job.status} />
          {job.stage && <Text size="sm">{t(`stage.${job.stage}`, { defaultValue: job.stage })}</Text>}
          {job.attempt > 1 && <Badge variant="outline" color="orange" tt="none">{t("job.attempt", { number: job.attempt })}</Badge>}
        </Group>
        {left_s !== null && !isOver(job) && (
          <Tooltip label={job.eta_range_s ? t("job.range", { from: duration(job.eta_range_s[0] ?? 0), to: duration(job.eta_range_s[1] ?? 0) }) : t("job.median")}>
            <Group gap={4}><IconClock size={16} aria-hidden /><Text size="sm" data-testid="eta">{left_s > 0.5 ? t("job.ready", { left: duration(left_s) }) : t("job.soon")}</Text></Group>
          </Tooltip>
        )}
      </Group>
      <Progress value={job.status === "in_progress" ? Math.max(share, 3) : 100} color={job.status === "queued" ? "gray.5" : "cyan"} striped={job.status !== "in_progress"} animated={!isOver(job)} size="lg" aria-label={t("job.progress")} />
      {job.status === "queued" && <Text size="sm" c="dimmed">{job.waiting ? saidReason(job.waiting).text : job.ahead ? t("job.ahead", { count: job.ahead }) : t("job.next")}</Text>}
      {job.status === "queued" && <Explain job={job} />}
      {!isOver(job) && (
        <Button variant="subtle" color="gray" size="compact-sm" w="fit-content" loading={cancel.isPending} disabled={job.status === "cancelling"} onClick={() => cancel.mutate(job.id)}>{t("job.cancel")}</Button>
      )}
    </Stack>
  );
}

const HEARD_EVERY = 25; // per cent: a screen reader is no speedometer

/** What a screen reader tells of the job: its state, its stage, each quarter of the way, and its end. */
export function Heard({ job }: { job: Job }) {
  const { t } = useTranslation();
  const quarter = Math.floor(((job.progress ?? 0) * 100) / HEARD_EVERY) * HEARD_EVERY;
  const runs = job.status === "in_progress";
  const parts = [t(`status.${job.status}`, { defaultValue: job.status }), ...(runs && job.stage ? [t(`stage.${job.stage}`, { defaultValue: job.stage })] : []), ...(runs && quarter > 0 ? [`${quarter} %`] : [])];
  return <VisuallyHidden role="status" aria-live="polite" data-testid="heard">{parts.join(", ")}</VisuallyHidden>;
}

function Failure({ job }: { job: Job }) {
  const { t } = useTranslation();
  const error = job.error ?? (job.status === "expired" ? { code: "start_deadline", message: "", retryable: true } : null);
  // The first reason is the error itself; what else there is to say of it, such as a version that was taken back, follows.
  const found = useQuery({ queryKey: ["explain", job.id, job.status], queryFn: () => ask(api.GET("/v1/jobs/{job_id}/explain", { params: { path: { job_id: job.id } } })) });
  const more = found.data?.reasons.slice(1) ?? [];
  const why: Said = error ? saidReason(error) : { text: t("job.noReason"), own: null };
  return (
    <Alert color="red" icon={<IconAlertTriangle />} title={t(job.status === "expired" ? "job.expired" : "job.failed")}>
      <Stack gap={6}>
        <div><Told said={why} /></div>
        {more.map((reason) => <div key={reason.code}><Told said={saidReason(reason)} /></div>)}
        {error && <Text size="sm">{t("explain.helps", { what: helps(error.code, error.retryable) })}</Text>}
        <Text size="xs" c="dimmed">{error && <Code>{error.code}</Code>} {job.attempt > 1 && t("job.attempts", { count: job.attempt })}</Text>
      </Stack>
    </Alert>
  );
}

/** Seconds until it should be ready, counting down between two looks at the server's estimate. */
function useTimeLeft(job: Job): number | null {
  const [ends_ms, setEnds] = useState<number | null>(null);
  const [, tick] = useState(0);
  useEffect(() => setEnds(job.eta_s == null ? null : Date.now() + job.eta_s * 1000), [job.eta_s, job.status]);
  useEffect(() => {
    const timer = window.setInterval(() => tick((count) => count + 1), 500);
    return () => window.clearInterval(timer);
  }, []);
  return ends_ms === null ? null : Math.max(0, (ends_ms - Date.now()) / 1000);
}
