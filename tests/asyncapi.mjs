// Has AsyncAPI's own parser read documents: `make lint` runs it where npm is. It fails on anything that is wrong, and
// does not mind that there are newer versions of the specification.
import { Parser } from '@asyncapi/parser';
import { readFileSync } from 'node:fs';

let wrong = 0;
for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await new Parser().parse(readFileSync(file, 'utf8'));
  for (const found of diagnostics.filter(({ code }) => code !== 'asyncapi-latest-version')) {
    console.error(`${file}: ${found.path.join('.')}: ${found.message}`);
    wrong += 1;
  }
  wrong += document ? 0 : 1;
}
process.exit(wrong > 0 ? 1 : 0);
