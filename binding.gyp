{
  # The build is scripts/build-native.mjs (cmake-js); this lets `node-gyp rebuild` reach it.
  "targets": [
    {
      "target_name": "kuea",
      "type": "none",
      "actions": [
        {
          "action_name": "build_native",
          "inputs": ["scripts/build-native.mjs"],
          "outputs": ["build/Release/kuea.node"],
          "action": ["node", "scripts/build-native.mjs"]
        }
      ]
    }
  ]
}
