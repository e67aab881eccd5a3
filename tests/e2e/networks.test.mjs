// Which network and weights are meant, what they are called, and where they are looked for.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { choose, nameOfFolder, probe, shortNames } from '../../www/model/networks.js';

const FIRST = { network: null, variant: null };
const PATHS = [
  'unet/config.json', 'config.json', 'scheduler/scheduler_config.json', 'scheduler_config.json', 'card.json',
  ...['unet/', ''].flatMap((folder) => [
    `${folder}diffusion_pytorch_model.safetensors`, `${folder}diffusion_pytorch_model.safetensors.index.json`,
    `${folder}diffusion_pytorch_model.fp16.safetensors`, `${folder}diffusion_pytorch_model.bin`,
  ]),
];

/** Looks for a model on a server with these files; returns what was found and what was asked for. */
async function look(there, wanted = FIRST) {
  const asked = [];
  const ask = (path) => {
    asked.push(path);
    return there.includes(path);
  };
  const found = await probe(PATHS, wanted, { text: async (path) => (ask(path) ? '{}' : null), has: async (path) => ask(path) });
  return { found: found.sort(), asked };
}

test('a plain pipeline is found by asking for four files', async () => {
  const there = ['unet/config.json', 'scheduler/scheduler_config.json', 'card.json', 'unet/diffusion_pytorch_model.safetensors'];
  const { found, asked } = await look(there);
  assert.deepEqual(found, [...there].sort());
  assert.deepEqual(asked.sort(), [...there].sort());
});

test('a network by itself is found at the top', async () => {
  const there = ['config.json', 'scheduler_config.json', 'diffusion_pytorch_model.fp16.safetensors', 'unet/diffusion_pytorch_model.safetensors'];
  const { found } = await look(there);
  assert.deepEqual(found, ['config.json', 'diffusion_pytorch_model.fp16.safetensors', 'scheduler_config.json']);
});

test('without a configuration nothing large is asked for', async () => {
  const { found, asked } = await look(['unet/diffusion_pytorch_model.safetensors']);
  assert.deepEqual(found, []);
  assert.deepEqual(asked, ['unet/config.json', 'config.json']);
});

test('who names weights is told of all there are', async () => {
  const there = ['unet/config.json', 'unet/diffusion_pytorch_model.safetensors', 'unet/diffusion_pytorch_model.fp16.safetensors'];
  assert.deepEqual((await look(there, { network: null, variant: 'fp16' })).found, [...there].sort());
  assert.deepEqual((await look(there)).found, there.slice(0, 2).sort());
});

test('a network in another folder is looked for there, its scheduler there and at the top', async () => {
  const there = ['run/unet_ema/config.json', 'run/unet_ema/diffusion_pytorch_model.safetensors', 'scheduler/scheduler_config.json', 'unet/config.json'];
  const { found } = await look(there, { network: 'run/unet_ema', variant: null });
  assert.deepEqual(found, there.slice(0, 3).sort());
});

test('the first is taken, or what is named', () => {
  const variant = (name) => ({ name, files: [`${name}.safetensors`], index: null });
  const networks = [{ folder: 'unet', variants: [variant(''), variant('fp16')] }, { folder: 'unet_ema', variants: [variant('')] }];
  assert.equal(choose(networks, FIRST).network, networks[0]);
  assert.equal(choose(networks, FIRST).variant, networks[0].variants[0]);
  assert.equal(choose(networks, { network: null, variant: 'fp16' }).variant, networks[0].variants[1]);
  assert.equal(choose(networks, { network: 'unet_ema', variant: null }).network, networks[1]);
  assert.throws(() => choose(networks, { network: 'other', variant: null }), /no network “other”; it has unet, unet_ema/);
  assert.throws(() => choose(networks, { network: 'unet_ema', variant: 'fp16' }), /no weights “fp16”; it has plain/);
});

test('names leave out what all have', () => {
  assert.deepEqual(shortNames(['run 1/unet', 'run 1/unet_ema', 'run 1/checkpoint-500/unet']), ['unet', 'unet_ema', 'checkpoint-500/unet']);
  assert.deepEqual(shortNames(['a/b/unet']), ['unet']);
  assert.deepEqual(shortNames(['', 'unet']), ['top', 'unet']);
});

test('a model of one’s own is called by its pipeline’s folder', () => {
  for (const [folder, name] of [['flowers/unet', 'flowers'], ['a/flowers', 'flowers'], ['flowers/unet_ema', 'flowers'], ['unet', 'Your model'], ['', 'Your model']]) {
    assert.equal(nameOfFolder(folder), name, folder);
  }
});
