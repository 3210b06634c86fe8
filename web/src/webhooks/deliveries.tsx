// The messages of one webhook: when each was sent, what was answered, and sending it again.
import { Anchor, Badge, Button, Group, SegmentedControl, Stack, Table, Text, UnstyledButton } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { Link } from "wouter";
import { api, ask, type Schemas } from "../api/client";
import { placeOf } from "../api/jobs";
import { tellFailure } from "../parts/failed";
import { when } from "../parts/format";
import { Loading } from "../parts/loading";

type Delivery = Schemas["DeliveryView"];
const STATES = ["all", "pending", "delivered", "failed"] as const;
type State = (typeof STATES)[number];
const COLOURS: Record<string, string> = { pending: "gray", delivered: "teal", failed: "red" };
const DAY_S = 86_400;

export function Deliveries({ hook }: { hook: Schemas["WebhookView"] }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [state, setState] = useState<State>("all");
  const path = { webhook_id: hook.id };
  const found = useInfiniteQuery({
    queryKey: ["deliveries", hook.id, state],
    initialPageParam: null as string | null,
    queryFn: ({ pageParam }) => ask(api.GET("/v1/webhooks/{webhook_id}/deliveries", { params: { path, query: { limit: 20, ...(pageParam ? { after: pageParam } : {}), ...(state === "all" ? {} : { status: state }) } } })),
    getNextPageParam: (page) => (page.has_more ? page.next_after : null),
    refetchInterval: 5_000,
  });
  const looked = () => client.invalidateQueries({ queryKey: ["deliveries", hook.id] });
  const one = useMutation({ mutationFn: (id: string) => ask(api.POST("/v1/webhooks/{webhook_id}/deliveries/{message_id}/redeliver", { params: { path: { ...path, message_id: id } } })), onError: tellFailure, onSettled: looked });
  const failed = useMutation({
    mutationFn: () => ask(api.POST("/v1/webhooks/{webhook_id}/redeliver", { params: { path }, body: { since_s: Math.round(Date.now() / 1000) - 7 * DAY_S } as never })),
    onSuccess: (answer) => notifications.show({ message: t("deliveries.again", { count: answer.redelivered }) }),
    onError: tellFailure,
    onSettled: looked,
  });
  const rows = found.data?.pages.flatMap((page) => page.data) ?? [];
  return (
    <Stack gap="xs" mt="md">
      <Group justify="space-between">
        <SegmentedControl size="xs" value={state} onChange={(value) => setState(value as State)} data={STATES.map((value) => ({ value, label: t(`deliveries.${value}`) }))} aria-label={t("history.status")} />
        <Button size="xs" variant="default" loading={failed.isPending} onClick={() => failed.mutate()}>{t("deliveries.failedAgain")}</Button>
      </Group>
      {found.data === undefined && <Loading query={found} />}
      {found.isSuccess && rows.length === 0 && <Text size="sm" c="dimmed">{t("deliveries.none")}</Text>}
      {rows.length > 0 && (
        <Table.ScrollContainer className="cards" type="native" minWidth={640}>
          <Table fz="sm" highlightOnHover>
            <Table.Thead><Table.Tr>{["event", "job", "status", "ended", "tries"].map((name) => <Table.Th key={name}>{t(`deliveries.${name}`)}</Table.Th>)}<Table.Th aria-label={t("history.actions")} /></Table.Tr></Table.Thead>
            <Table.Tbody>{rows.map((each) => <Line key={each.id} delivery={each} busy={one.isPending} onAgain={() => one.mutate(each.id)} />)}</Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      )}
      {found.hasNextPage && <Button variant="default" size="xs" w="fit-content" mx="auto" loading={found.isFetchingNextPage} onClick={() => void found.fetchNextPage()}>{t("history.more")}</Button>}
    </Stack>
  );
}

function Line({ delivery, busy, onAgain }: { delivery: Delivery; busy: boolean; onAgain: () => void }) {
  const { t } = useTranslation();
  const [open, setOpen] = useState(false);
  const last = delivery.attempts.at(-1);
  return (
    <>
      <Table.Tr>
        <Table.Td data-label={t("deliveries.event")}>{delivery.event}</Table.Td>
        <Table.Td data-label={t("deliveries.job")}><Anchor component={Link} href={placeOf(delivery.model, delivery.job)} size="sm" underline="always">{delivery.model}</Anchor></Table.Td>
        <Table.Td data-label={t("deliveries.status")}><Badge variant="light" tt="none" color={COLOURS[delivery.status] ?? "gray"}>{t(`deliveries.${delivery.status}`)}</Badge>{delivery.next_at_s != null && delivery.tried > 0 && <Text size="xs" c="dimmed">{t("deliveries.next", { at: when(delivery.next_at_s) })}</Text>}</Table.Td>
        <Table.Td data-label={t("deliveries.ended")}>{when(delivery.ended_at_s)}</Table.Td>
        <Table.Td data-label={t("deliveries.tries")}>{delivery.tried === 0 ? "–" : <UnstyledButton fz="sm" td="underline" aria-expanded={open} onClick={() => setOpen(!open)}>{t("deliveries.tried", { count: delivery.tried })}{last && `: ${last.status ?? t("deliveries.noAnswer")}`}</UnstyledButton>}</Table.Td>
        <Table.Td><Button size="compact-xs" variant="subtle" loading={busy} onClick={onAgain}>{t("deliveries.redeliver")}</Button></Table.Td>
      </Table.Tr>
      {open && delivery.attempts.map((each) => (
        <Table.Tr key={each.at_s}><Table.Td /><Table.Td colSpan={5}><Text size="xs">{when(each.at_s)} · {each.status ?? t("deliveries.noAnswer")} · {Math.round(each.ms)} ms {each.error && <Text span size="xs" c="dimmed">{each.error}</Text>}</Text></Table.Td></Table.Tr>
      ))}
    </>
  );
}
