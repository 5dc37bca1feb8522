export { wrapRootElement } from './gatsby-browser';
