// wgpu cannot ask a browser for subgroups: among the features that it knows there, they are missing.

/**
 * Has the next device that this thread asks for be given subgroups, if its adapter has them.
 * @returns {() => boolean} Whether the device was asked for with them; to be called when it is there, or failed.
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
