// A secret that is shown this once: to be copied, then gone from the page.
import { Alert, Button, Code, CopyButton, Group, Modal, Stack, Text } from "@mantine/core";
import { IconCheck, IconCopy, IconEyeOff } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";

export function Secret({ title, help, value, onClose }: { title: string; help: string; value: string | null; onClose: () => void }) {
  const { t } = useTranslation();
  return (
    <Modal opened={value !== null} onClose={onClose} title={title} closeOnClickOutside={false} size="lg">
      <Stack>
        <Alert icon={<IconEyeOff size={18} />} color="orange">{t("secret.once")}</Alert>
        <Code block style={{ overflowWrap: "anywhere", whiteSpace: "pre-wrap" }} data-testid="secret">{value}</Code>
        <Text size="sm" c="dimmed">{help}</Text>
        <Group justify="end">
          <CopyButton value={value ?? ""}>
            {({ copied, copy }) => <Button variant="default" leftSection={copied ? <IconCheck size={16} /> : <IconCopy size={16} />} onClick={copy}>{t(copied ? "copy.done" : "copy.it")}</Button>}
          </CopyButton>
          <Button onClick={onClose}>{t("secret.kept")}</Button>
        </Group>
      </Stack>
    </Modal>
  );
}
