// "Check my GPU": what the comparison with the CPU found, as a verdict and as a report to pass on.

/** @typedef {import('../engine/protocol.js').LayerError} LayerError */

/** An error in few digits. @param {number} error */
export const inShort = (error) => (Number.isFinite(error) ? error.toExponential(1).replace('-', '−') : String(error));

/** What is not a number is worse than any error. @param {number} error */
const rank = (error) => (Number.isFinite(error) ? error : Infinity);

/** @param {readonly LayerError[]} layers */
export const worstFirst = (layers) => [...layers].sort((a, b) => rank(b.error) - rank(a.error));

/** @param {LayerError[]} layers */
export const worstOf = (layers) => layers.reduce((worst, layer) => (rank(layer.error) > rank(worst.error) ? layer : worst));

/** @param {import('../engine/protocol.js').CheckReport} report @returns {{title: string, text: string}} */
export function verdict({ ok, output_error: output, worst, layers }) {
  if (ok) {
    return {
      title: 'This GPU computes what it should',
      text: `Its result differs from the CPU’s by ${inShort(output)}, and none of its ${layers.length} layers by more than ${inShort(worst.error)}.`,
    };
  }
  const differs = (/** @type {number} */ error) => (Number.isFinite(error) ? `differs from the CPU’s by ${inShort(error)}` : 'is not a number');
  return {
    title: 'This GPU computes wrong numbers',
    text: `The worst of ${layers.length} layers, ${worst.name} (${worst.op}), ${differs(worst.error)}; the result ${differs(output)}.`,
  };
}

/** The report as Markdown, to be pasted where such things are told. @param {import('../store/state.js').Checked} checked */
export function reportText({ report, model, precision, backend }) {
  return [
    `## Denoise: GPU check ${report.ok ? 'passed' : 'failed'}`,
    '',
    `- Adapter: ${report.device || backend}`,
    `- Browser: ${navigator.userAgent}`,
    `- Model: ${model}, ${precision}`,
    `- Result: ${report.output_error.toExponential(2)} relative error; ${report.tolerance.toExponential(2)} allowed`,
    '',
    `| the worst of ${report.layers.length} layers | op | error |`,
    '|---|---|---|',
    ...worstFirst(report.layers).slice(0, 10).map(({ name, op, error }) => `| ${name} | ${op} | ${Number(error).toExponential(2)} |`),
    '',
  ].join('\n');
}
