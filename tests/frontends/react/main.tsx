import { createRoot } from 'react-dom/client';
import App, { call } from './App';

// So that the run can call with methods and bodies that the example has no button for.
Object.assign(window, { call });
createRoot(document.getElementById('root')!).render(<App />);
