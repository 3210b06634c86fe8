import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

const OUT = "../src/springtide/gateway/static";

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
  plugins: [react(), packed],
  build: { outDir: OUT, emptyOutDir: true, assetsInlineLimit: 0, target: "es2022", chunkSizeWarningLimit: 700 },
  server: { proxy: { "/v1": { target: "http://127.0.0.1:8321", ws: true } } },
});
