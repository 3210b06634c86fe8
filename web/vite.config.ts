import { copyFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

const OUT = "../src/springtide/gateway/static";

/** The engines' own samples, for who has no photo or recording at hand. */
const SAMPLES = ["portrait.jpg", "speech.ogg", "clip.mp4"];
const samples: Plugin = {
  name: "samples",
  apply: "build",
  closeBundle() {
    for (const name of SAMPLES) copyFileSync(join("../src/springtide/engines/samples", name), join(OUT, "assets/examples", name));
  },
};

/** Text is packed once here, not at each request. */
const packed: Plugin = {
  name: "packed",
  apply: "build",
  closeBundle() {
    for (const entry of readdirSync(OUT, { recursive: true, encoding: "utf8" })) {
      if (!/\.(js|css|svg)$/.test(entry)) continue;
      const path = join(OUT, entry);
      writeFileSync(`${path}.gz`, gzipSync(readFileSync(path), { level: 9 }));
    }
  },
};

// Built into the Python package, which serves it: nothing is loaded from anywhere else.
export default defineConfig({
  plugins: [react(), samples, packed],
  build: { outDir: OUT, emptyOutDir: true, assetsInlineLimit: 0, target: "es2022", chunkSizeWarningLimit: 700 },
  server: { proxy: { "/v1": { target: "http://127.0.0.1:8321", ws: true }, [`^/assets/examples/(${SAMPLES.join("|")})`]: { target: "http://127.0.0.1:8321" } } },
});
