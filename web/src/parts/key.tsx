// The API key, where the server asks for one: kept in this browser only.
import { Button, Group, Modal, PasswordInput, Stack, Text } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { apiKey } from "../api/client";

export function KeyDialog({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [value, setValue] = useState("");
  const keep = (key: string | null) => {
    apiKey.set(key);
    setValue("");
    onClose();
    void client.invalidateQueries();
  };
  return (
    <Modal opened={opened} onClose={onClose} title={t("key.title")}>
      <form onSubmit={(event) => { event.preventDefault(); if (value.trim()) keep(value.trim()); }}>
        <Stack>
          <Text size="sm" c="dimmed">{t("key.help")}</Text>
          <PasswordInput label={t("key.label")} value={value} onChange={(event) => setValue(event.currentTarget.value)} autoComplete="off" data-autofocus />
          <Group justify="space-between">
            <Button variant="subtle" color="gray" disabled={!apiKey.get()} onClick={() => keep(null)}>{t("key.forget")}</Button>
            <Button type="submit" disabled={!value.trim()}>{t("key.keep")}</Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
