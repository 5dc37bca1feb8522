import { call } from './Orders';

// So that the run can call with methods and bodies that the example has no button for.
Object.assign(window, { call });
