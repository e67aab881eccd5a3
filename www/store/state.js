// Everything the page knows, as one object. It is never changed in place: what is the very same object as before has not
// changed, so a view can tell by that what it has to draw anew.

import { classesOf } from './settings.js';
