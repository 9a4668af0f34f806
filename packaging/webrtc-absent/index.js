// Stands where helia would load @libp2p/webrtc for defaults that this project never uses: the real
// package brings a native WebRTC stack and a mobile tool chain (631 packages, 190 MB). Whoever does
// reach for it is told so at once.
const absent = (name) => () => {
  throw new Error(
    `${name} is not part of this build: OpenLedger listens on TCP, configure a /tcp address`,
  );
};
export const webRTC = absent('webRTC');
export const webRTCDirect = absent('webRTCDirect');
