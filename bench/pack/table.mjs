// The benchmark's table without its layers, as far as it came:  node bench/pack/table.mjs OUT CHARACTERS
//
// No longer than so many characters: what reads it elsewhere may keep only the end of what a command prints.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { markdown } from '../dawn/report.mjs';

const [out, characters] = process.argv.slice(2);
const most = Number(characters);
const CUT = '\n… results.md has the rest';

const table = markdown(JSON.parse(readFileSync(join(out, 'results.json'))), { short: true }).trimEnd();
console.log(table.length <= most ? table : `${table.slice(0, most - CUT.length)}${CUT}`);
