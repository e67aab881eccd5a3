// The benchmark's table without its layers, as far as it came:  node bench/pack/table.mjs OUT

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { markdown } from '../dawn/report.mjs';

console.log(markdown(JSON.parse(readFileSync(join(process.argv[2], 'results.json'))), { layers: false }));
