/*
 * SPDX-License-Identifier: Apache-2.0
 * Copyright The Gantry authors
 */
/* Light, dark, or as the system says ("auto"). Runs before the page is drawn, so that it does not flash; app.js has the button. */
(function () {
	'use strict';
	let saved = 'auto';
	try {
		saved = localStorage.getItem('gantry-theme') || 'auto';
	} catch (_) {
		/* Storage may be forbidden; then the choice lasts as long as the page. */
	}
	document.documentElement.dataset.theme = saved === 'light' || saved === 'dark' ? saved : 'auto';
})();
