// The tables of the benchmark in Dawn, of results that came only so far.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { markdown } from '../../bench/dawn/report.mjs';

const TUNING = '2 shared halo';

/** Results as they are saved when a case is half done. */
const half = () => ({
  date: '2026-01-01T00:00:00.000Z', node: 'v26.0.0', cpu: 'a processor', software: false,
  adapter: { vendor: 'nvidia', half: true }, failures: [], problems: [], variants: [],
  cases: [
    {
      model: 'digits', count: 1, macs: 1e9,
      engines: {
        'denoise gpu f32': { blocks: [2, 1, 3], block: 4, median: 2, counts: { dispatches: 78, submissions: 1, writes: 1, reads: 1 }, levels: 0.25, tuning: TUNING },
        'denoise gpu f16': { blocks: [2], block: 4, levels: 1, tuning: TUNING },
        'ort webgpu cpu': { blocks: [] },
        'ort webgpu graph': { blocks: [5], failed: 'no overload\nmatched' },
      },
    },
    { model: 'digits', count: 16, engines: {}, skipped: 'would begin after 60 s' },
  ],
});

test('what has not been measured is a dash', () => {
  const table = markdown(half());
  assert.match(table, /; nvidia, with 16 bits;/);
  assert.match(table, /At most: – GFLOP\/s .* – GB\/s .* – µs/);
  assert.match(table, /\| digits \| 1 \| Denoise \| 2\.00 \| 1\.00–3\.00 \(3 × 4\) \| 1,000 \| – \| 78\.0 \/ 1\.00 \/ 1\.00 \/ 1\.00 \| 1\.00× \| 0\.25 levels of x̂0 \|/);
  assert.match(table, /\| Denoise, 16 bits \| – \| – \| – \| – \| – \/ – \/ – \/ – \| – \| 1\.00 levels of x̂0 \|/);
  assert.match(table, /\| ONNX Runtime \| – \| – \| – \| – \| – \/ – \/ – \/ – \| – \| – \|/);
  assert.match(table, /\| ONNX Runtime, graph capture \| \| no overload matched \|/);
  assert.match(table, /\| digits \| 16 \| \| \| left out: it would begin after 60 s \|/);
  assert.doesNotMatch(table, /NaN|undefined|Infinity/);
});

test('failures come first, and complaints are counted and few', () => {
  const problems = Array.from({ length: 13 }, (_, i) => ({ engine: 'ort webgpu cpu', message: `rejected ${i}`, count: i + 1 }));
  const table = markdown({ ...half(), failures: ['digits ×1: broke\noff'], problems });
  assert.ok(table.indexOf('digits ×1: broke off') < table.indexOf('| model |'));
  assert.match(table, /- ort webgpu cpu: rejected 0\n- ort webgpu cpu, 2 times: rejected 1\n/);
  assert.equal(table.match(/rejected/g).length, 10);
  assert.match(table, /- and 3 others/);
});

test('the short table says once what is the same again and again', () => {
  const variants = [
    { model: 'digits', precision: 'f32', variant: 'halo', median: 1.5, dispatches: 78, check: { skipped: 'not compared' } },
    ...['gemm', 'direct'].map((variant) => ({ model: 'digits', precision: 'f32', variant, skipped: 'left out, after 60 s' })),
  ];
  const [long, short] = [false, true].map((is) => markdown({ ...half(), variants }, { short: is }));
  assert.equal(long.match(/left out, after 60 s/g).length, 2);
  assert.match(short, /\| digits \| 32 \| halo \| 1\.50 \|/);
  assert.match(short, /\| digits \| \| 2 of 3 \| left out, after 60 s \|/);
  assert.equal(short.match(/left out, after 60 s/g).length, 1);
  assert.equal(long.match(new RegExp(TUNING, 'g')).length, 2);
  assert.equal(short.match(new RegExp(TUNING, 'g')).length, 1);
});
