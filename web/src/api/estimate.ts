// What jobs would take, asked before they are sent.
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { api, ask, type Model } from "./client";
import { type Facts, factsOf } from "./facts";
import type { Inputs } from "./submit";

const STILL_MS = 350; // after the last change

/** Of `jobs` alike, by the first file that the browser can read; not asked while something is missing. */
export function useEstimate(model: Model, inputs: Inputs, files: Record<string, File[]>, jobs: number, complete: boolean) {
  const names = Object.entries(files).flatMap(([field, given]) => given.map((file) => `${field}:${file.name}:${file.size}:${file.lastModified}`));
  const [wish] = useDebouncedValue(JSON.stringify([model.name, inputs, names, jobs]), STILL_MS);
  const current = wish === JSON.stringify([model.name, inputs, names, jobs]);
  return useQuery({
    queryKey: ["estimate", wish],
    queryFn: async () => {
      const facts: Record<string, Facts | Facts[]> = {};
      for (const [field, given] of Object.entries(files)) {
        const found = (await Promise.all(given.map(factsOf))).filter((each) => each !== null);
        const many = model.input_files.find((each) => each.name === field)?.many;
        if (given.length && !found.length) return null;
        if (found.length) facts[field] = many ? found : found[0]!;
      }
      return ask(api.POST("/v1/jobs/estimate", { body: { model: model.name, inputs, files: facts, jobs } as never }));
    },
    enabled: complete && current,
    placeholderData: keepPreviousData,
    refetchInterval: 10_000, // the queue moves
    retry: false, // what is wrong is told when it is sent
  });
}
