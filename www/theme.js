// Runs before the first paint, so that a remembered theme does not flash.
'use strict';
try {
  const theme = localStorage.getItem('theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // No storage (private mode, blocked cookies): the system's theme applies.
}
