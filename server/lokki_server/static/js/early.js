// Before anything is painted; where a browser keeps nothing for pages, the scheme is the system's.
try {
  const scheme = localStorage.getItem("scheme");
  if (scheme) document.documentElement.dataset.scheme = scheme;
} catch {}
