// Before the first answer: a wheel, or why there is none. Later failures leave on the screen what was there: the frame
// says that the server is away, and the next look goes on.
import { Loader } from "@mantine/core";
import { Failed } from "./failed";

type Asked = { isError: boolean; error: unknown; refetch: () => unknown };

export function Loading({ query }: { query: Asked }) {
  return query.isError ? <Failed error={query.error} retry={() => void query.refetch()} /> : <Loader mx="auto" my="xl" display="block" />;
}
