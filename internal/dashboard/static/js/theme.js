// The chosen theme, before anything is painted. Not a module: those come too late.
try {
  const theme = localStorage.getItem("keeper.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* storage is off: the system's theme it is */ }
