import { expect } from 'chai';

import { cropWindow } from '../../../../lib/data/images/geometry.js';

// Expected values: torchvision.transforms.functional.get_image_size after Resize, and round((side - crop) / 2) in Python.
describe('cropWindow', () => {
  const crop = (width: number, height: number, resize = 224, size = 224) => {
    const { resizedWidth, resizedHeight, left, top } = cropWindow(width, height, { resize, crop: size });
    return [resizedWidth, resizedHeight, left, top];
  };

  it('truncates the longer side and rounds half a pixel to even', () => {
    expect(crop(500, 375)).to.deep.equal([298, 224, 37, 0]);
    // (299 - 224) / 2 = 37.5 goes up to 38, (297 - 224) / 2 = 36.5 down to 36.
    expect(crop(299, 224)).to.deep.equal([299, 224, 38, 0]);
    expect(crop(224, 297)).to.deep.equal([224, 297, 0, 36]);
    expect(crop(333, 500)).to.deep.equal([224, 336, 0, 56]);
    expect(crop(41, 30)).to.deep.equal([306, 224, 41, 0]);
    expect(crop(1, 1)).to.deep.equal([224, 224, 0, 0]);
    expect(crop(5000, 3)).to.deep.equal([373333, 224, 186554, 0]);
  });

  it('resizes to one side and crops another, as DINOv2 does', () => {
    expect(crop(500, 375, 256, 224)).to.deep.equal([341, 256, 58, 16]);
  });

  it('starts before the image when the window is larger', () => {
    expect(crop(100, 100, 50, 60)).to.deep.equal([50, 50, -5, -5]);
  });

  it("rounds down where Hugging Face's crop is asked for", () => {
    expect(cropWindow(299, 224, { resize: 224, crop: 224, centre: 'down' }).left).to.equal(37);
  });
});
