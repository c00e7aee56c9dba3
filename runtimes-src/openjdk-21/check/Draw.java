import java.awt.Color;
import java.awt.Font;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.io.File;
import javax.imageio.ImageIO;

/** Draws text without a screen: fonts, FreeType and HarfBuzz are there. */
class Draw {
    public static void main(String[] arguments) throws Exception {
        BufferedImage image = new BufferedImage(64, 32, BufferedImage.TYPE_INT_RGB);
        Graphics2D graphics = image.createGraphics();
        graphics.setColor(Color.WHITE);
        graphics.setFont(new Font(Font.SANS_SERIF, Font.PLAIN, 20));
        graphics.drawString("fi", 4, 24);
        graphics.dispose();
        int white = 0;
        for (int x = 0; x < 64; x++) {
            for (int y = 0; y < 32; y++) {
                white += image.getRGB(x, y) == Color.WHITE.getRGB() ? 1 : 0;
            }
        }
        if (white == 0) {
            throw new AssertionError("nothing was drawn");
        }
        ImageIO.write(image, "png", new File(arguments[0]));
    }
}
