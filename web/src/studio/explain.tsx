// Why a job waits or failed, in words, with the figures and what would help.
import { Button, Code, Collapse, List, Loader, Stack, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconHelpCircle } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { api, ask, type Job } from "../api/client";
import { isOver } from "../api/jobs";
import { Failed } from "../parts/failed";
import { helps, saidReason } from "../parts/said";
import { Told } from "../parts/told";

export function Explain({ job }: { job: Job }) {
  const { t } = useTranslation();
  const [open, { toggle }] = useDisclosure(false);
  const found = useQuery({
    queryKey: ["explain", job.id, job.status],
    queryFn: () => ask(api.GET("/v1/jobs/{job_id}/explain", { params: { path: { job_id: job.id } } })),
    enabled: open,
    refetchInterval: isOver(job) ? false : 3_000,
  });
  const help = (reason: { code: string; helps?: string | null }) => (reason.helps ? (helps(reason.code, job.error?.retryable ?? null) ?? reason.helps) : null);
  return (
    <div>
      <Button variant="subtle" size="compact-sm" leftSection={<IconHelpCircle size={16} />} onClick={toggle} aria-expanded={open}>{t("explain.why")}</Button>
      <Collapse expanded={open}>
        <Stack gap={6} pt="xs" pl="xs">
          {found.isPending && open && <Loader size="sm" />}
          {found.isError && <Failed error={found.error} />}
          {found.data?.reasons.length === 0 && <Text size="sm">{t("explain.nothing")}</Text>}
          <List size="sm" spacing={6}>
            {found.data?.reasons.map((reason) => (
              <List.Item key={reason.code}>
                <Told said={saidReason(reason)} /> <Code>{reason.code}</Code>
                {help(reason) && <Text size="xs" c="dimmed">{t("explain.helps", { what: help(reason) })}</Text>}
              </List.Item>
            ))}
          </List>
        </Stack>
      </Collapse>
    </div>
  );
}
