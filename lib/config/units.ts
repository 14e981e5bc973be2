const units = (value: number, base: number, names: readonly string[]) => {
  const power = value > 0 ? Math.min(Math.floor(Math.log(value) / Math.log(base)), names.length - 1) : 0;
  return `${(value / base ** power).toFixed(power > 0 ? 1 : 0)} ${names[power]}`;
};
export const formatBytes = (bytes: number) => units(bytes, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB']);

export function formatDuration(seconds: number): string {
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  const minutes = Math.round(s / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
