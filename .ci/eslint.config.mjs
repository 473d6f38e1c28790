// The rules of ESLint for the one script of the pages; its form is Prettier's.
const browser = ["Blob", "DataView", "DecompressionStream", "Response", "URL", "atob", "document", "niivue", "window"];
const rules = ["eqeqeq", "no-shadow", "no-undef", "no-unused-vars", "no-use-before-define", "no-var", "prefer-const"];

export default [
  {
    languageOptions: {
      sourceType: "script",
      globals: Object.fromEntries(browser.map((name) => [name, "readonly"])),
    },
    rules: Object.fromEntries(rules.map((name) => [name, "error"])),
  },
];
