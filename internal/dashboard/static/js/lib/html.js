// What pages are written with: components in tagged templates, no build step.
export {
  html, render, createContext, useState, useEffect, useLayoutEffect, useRef, useMemo, useCallback, useContext, useErrorBoundary,
} from "../../vendor/htm/standalone.module.js";
