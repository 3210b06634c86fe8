// A sentence of the page's own, and under it what the server said beyond it.
import { Text } from "@mantine/core";
import type { Said } from "./said";

export function Told({ said, size = "sm", c }: { said: Said; size?: "xs" | "sm"; c?: string }) {
  return (
    <>
      <Text span size={size} {...(c ? { c } : {})}>{said.text}</Text>
      {said.own && <Text size="xs" c="dimmed" style={{ overflowWrap: "anywhere" }}>{said.own}</Text>}
    </>
  );
}
