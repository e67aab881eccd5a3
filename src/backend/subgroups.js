// wgpu cannot ask a browser for subgroups: among the features that it knows there, they are missing.

/**
 * Has devices be asked for with subgroups, if the adapter has them, until the answer is called.
 * @returns {() => boolean} Ends that; whether the last device was asked for with them.
 */
export function askForSubgroups() {
  const { prototype } = GPUAdapter;
  const { requestDevice } = prototype;
  let asked = false;
  prototype.requestDevice = function (descriptor) {
    asked = this.features.has('subgroups');
    const requiredFeatures = [...(descriptor?.requiredFeatures ?? []), ...(asked ? ['subgroups'] : [])];
    return requestDevice.call(this, { ...descriptor, requiredFeatures });
  };
  return () => {
    prototype.requestDevice = requestDevice;
    return asked;
  };
}
