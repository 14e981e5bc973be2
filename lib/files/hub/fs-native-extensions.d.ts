declare module 'fs-native-extensions' {
  const extensions: {
    /** Locks an open file for its descriptor alone; false when another has it. */
    tryLock(fd: number): boolean;
  };
  export default extensions;
}
