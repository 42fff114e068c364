// Builds three files with fixed names, for the hub embeds them by name; the page asks for each with
// its version behind it, so that browsers may keep it for ever.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

// What others wrote goes out with their names and terms.
const BUNDLED = ["preact", "@preact/signals", "@preact/signals-core", "uplot"];
const terms = BUNDLED.map((name) => `${name}\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim()}`).join("\n\n");

const licensed: Plugin = {
  name: "licensed",
  apply: "build",
  enforce: "post",
  generateBundle(_, bundle) {
    const script = bundle["app.js"];
    if (script?.type === "chunk") script.code = `/*!\n${terms.replaceAll("*/", "* /")}\n*/\n${script.code}`;
  },
};

const versioned: Plugin = {
  name: "versioned",
  apply: "build",
  enforce: "post",
  generateBundle(_, bundle) {
    const page = bundle["index.html"];
    if (page?.type !== "asset") return;
    let html = String(page.source);
    for (const file of Object.values(bundle)) {
      if (file.fileName === "index.html") continue;
      const text = file.type === "chunk" ? file.code : file.source;
      const version = createHash("sha256").update(text).digest("hex").slice(0, 12);
      html = html.replaceAll(`"/${file.fileName}"`, `"/${file.fileName}?v=${version}"`);
    }
    page.source = html.replaceAll(" crossorigin", "");
  },
};

// While developing, a running hub answers what is not the page: FIELDPOST_HUB=http://127.0.0.1:7700
const hub = process.env.FIELDPOST_HUB ?? "http://127.0.0.1:7700";

export default defineConfig({
  plugins: [licensed, versioned],
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  build: {
    target: "es2022",
    modulePreload: false,
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    reportCompressedSize: true,
    rollupOptions: {
      output: {
        entryFileNames: "app.js",
        assetFileNames: (asset) => (asset.names[0]?.endsWith(".css") ? "app.css" : "[name][extname]"),
        codeSplitting: false,
      },
    },
  },
  server: { proxy: { "/api": { target: hub, changeOrigin: false } } },
});
