import js from '@eslint/js';
import globals from 'globals';

const unused = { 'no-unused-vars': ['error', { args: 'after-used', caughtErrors: 'none' }] };

export default [
  { ignores: ['pkg/', 'dist/', 'target/', 'node_modules/'] },
  js.configs.recommended,
  { rules: { ...unused, eqeqeq: 'error', 'no-var': 'error', 'prefer-const': 'error' } },
  { files: ['www/**/*.js', 'src/**/*.js'], languageOptions: { globals: globals.browser } },
  { files: ['www/theme.js'], languageOptions: { sourceType: 'script' } },
  { files: ['www/engine/**/*.js', 'www/model/**/*.js', 'www/teach/data-worker.js'], languageOptions: { globals: globals.worker } },
  // What the page knows does not depend on what it looks like.
  {
    files: ['www/store/**/*.js', 'www/teach/store/**/*.js', 'www/model/**/*.js', 'www/engine/**/*.js', 'www/words/**/*.js'],
    rules: {
      'no-restricted-imports': ['error', { patterns: [{ group: ['**/view/*', '**/controller.js'] }] }],
      'no-restricted-globals': ['error', 'document', 'window', 'location', 'history'],
    },
  },
  { files: ['bench/**/*.js'], languageOptions: { globals: globals.browser } },
  // The end-to-end tests and the benchmark hold functions that run inside the page, so they see both worlds.
  { files: ['scripts/**/*.mjs', 'bench/**/*.mjs', 'tests/e2e/**/*.mjs'], languageOptions: { globals: { ...globals.node, ...globals.browser } } },
];
