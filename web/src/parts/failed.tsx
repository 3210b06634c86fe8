// An error as a sentence with what to do.
import { Alert, Button, Code, List, Stack, Text } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { Problem } from "../api/client";

export function Failed({ error, retry }: { error: unknown; retry?: () => void }) {
  const { t } = useTranslation();
  const problem = error instanceof Problem ? error : null;
  const away = problem?.code === "unreachable";
  return (
    <Alert color="red" icon={<IconAlertTriangle />} title={away ? t("error.away") : t("error.title")}>
      <Stack gap="xs">
        <Text size="sm">{away ? t("error.awayDetail") : ((error as Error).message ?? String(error))}</Text>
        {problem && problem.errors.length > 0 && (
          <List size="sm">{problem.errors.map((each) => <List.Item key={each.loc}><Code>{each.loc}</Code> {each.message}</List.Item>)}</List>
        )}
        {retry && <Button size="compact-sm" variant="light" color="red" w="fit-content" onClick={retry}>{t("error.retry")}</Button>}
      </Stack>
    </Alert>
  );
}
