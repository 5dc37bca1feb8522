import { registerRootComponent } from 'expo';
import App from './work/App';

registerRootComponent(App);
