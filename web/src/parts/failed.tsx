// An error as a sentence with what to do; the server's own words, which are more exact, below it.
import { Alert, Button, List, Stack, Text } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconAlertTriangle } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { Problem } from "../api/client";
import i18n from "../i18n";
import { saidFault } from "./said";

type Words = { title: string; detail: string | null };

function wordsOf(error: unknown): Words {
  const message = (error as Error).message ?? String(error);
  if (!(error instanceof Problem)) return { title: i18n.t("error.title"), detail: message };
  if (error.code === "unreachable") return { title: i18n.t("error.away"), detail: i18n.t("error.awayDetail") };
  const found = saidFault(error.code, message);
  return found.text === message ? { title: i18n.t("error.title"), detail: message } : { title: found.text, detail: found.own };
}

export function Failed({ error, retry }: { error: unknown; retry?: () => void }) {
  const { t } = useTranslation();
  const problem = error instanceof Problem ? error : null;
  const { title, detail } = wordsOf(error);
  return (
    <Alert color="red" icon={<IconAlertTriangle />} title={title}>
      <Stack gap="xs">
        {detail && !problem?.errors.length && <Text size="sm" style={{ overflowWrap: "anywhere" }}>{detail}</Text>}
        {problem && problem.errors.length > 0 && (
          <List size="sm">{problem.errors.map((each) => <List.Item key={each.loc}><Text span size="sm" fw={600}>{labelOf(each.loc, t)}</Text> {each.code && each.code !== problem.code && fieldSaid(each)} {each.message}</List.Item>)}</List>
        )}
        {retry && <Button size="compact-sm" variant="light" color="red" w="fit-content" onClick={retry}>{t("error.retry")}</Button>}
      </Stack>
    </Alert>
  );
}

/** The field's name on the form; where it is none of a form, as the server calls it. */
function labelOf(loc: string, t: (key: string, options: { defaultValue: string }) => string): string {
  const name = loc.split(".").at(-1)?.replace(/\[\d+\]$/, "") ?? loc;
  return t(`field.${name}`, { defaultValue: loc });
}

/** What is wrong with one field: by its code where it has one. */
export const fieldSaid = (problem: { code?: string | null; message: string }): string => saidFault(problem.code ?? "", problem.message).text;

/** In one line, for a row of a table. */
export const saidShortly = (error: unknown): string => wordsOf(error).title;

/** Told in a corner of the page: for acts that have no place of their own for it. */
export function tellFailure(error: unknown): void {
  const { title, detail } = wordsOf(error);
  notifications.show({ color: "red", title, message: detail });
}
