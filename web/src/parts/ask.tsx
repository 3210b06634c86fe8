// What cannot be undone is asked once, in one sentence that says what will be gone.
import { Button, Group, Modal, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";

type Props = { opened: boolean; title: string; what: string; confirm: string; busy: boolean; onConfirm: () => void; onClose: () => void };

export function Ask({ opened, title, what, confirm, busy, onConfirm, onClose }: Props) {
  const { t } = useTranslation();
  return (
    <Modal opened={opened} onClose={onClose} title={title}>
      <Text size="sm">{what}</Text>
      <Group justify="end" mt="md">
        <Button variant="default" onClick={onClose}>{t("ask.leave")}</Button>
        <Button color="red" loading={busy} onClick={onConfirm}>{confirm}</Button>
      </Group>
    </Modal>
  );
}
